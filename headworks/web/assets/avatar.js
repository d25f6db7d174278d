// The avatar itself: numbers out of the page, and a mesh posed by expression and joints.
// The arithmetic is that of headworks/heads/base.py and headworks/avatars/binding.py.

const TYPES = {
  f4: Float32Array, u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, i2: Int16Array,
};
const POSE = { rotation: 0, translation: 3, neck: 6, neckTranslation: 9, jaw: 12, eyes: 15 };

function decodeBase64(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

// Arrays of one blob, by name. directory: {name: [type, count, offset in bytes]}
function readArrays(bytes, directory) {
  const out = {};
  for (const [name, [type, count, offset]] of Object.entries(directory)) {
    out[name] = new TYPES[type](bytes.buffer, offset, count);
  }
  return out;
}

// Rodrigues' formula: row-major [9] from an axis-angle at v[o..o+2].
function rotationOf(v, o) {
  const x = v[o], y = v[o + 1], z = v[o + 2];
  const squared = x * x + y * y + z * z;
  const angle = Math.sqrt(squared);
  const a = squared < 1e-8 ? 1 - squared / 6 : Math.sin(angle) / angle;
  const b = squared < 1e-8 ? 0.5 - squared / 24 : (1 - Math.cos(angle)) / squared;
  return [
    1 - b * (y * y + z * z), b * x * y - a * z, b * x * z + a * y,
    b * x * y + a * z, 1 - b * (x * x + z * z), b * y * z - a * x,
    b * x * z - a * y, b * y * z + a * x, 1 - b * (x * x + y * y),
  ];
}

// Row-major [9] of a quaternion of any norm.
function turnOf(qw, qx, qy, qz) {
  const norm = Math.sqrt(qw * qw + qx * qx + qy * qy + qz * qz) || 1;
  const w = qw / norm, x = qx / norm, y = qy / norm, z = qz / norm;
  return [
    1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
    2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
    2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
  ];
}

function times(a, b) {
  const out = new Array(9);
  for (let i = 0; i < 3; i++) {
    for (let j = 0; j < 3; j++) {
      out[3 * i + j] = a[3 * i] * b[j] + a[3 * i + 1] * b[3 + j] + a[3 * i + 2] * b[6 + j];
    }
  }
  return out;
}

function apply(m, v) {
  return [
    m[0] * v[0] + m[1] * v[1] + m[2] * v[2],
    m[3] * v[0] + m[4] * v[1] + m[5] * v[2],
    m[6] * v[0] + m[7] * v[1] + m[8] * v[2],
  ];
}

class Avatar {
  constructor(facts, arrays) {
    this.facts = facts;
    this.arrays = arrays;
    this.expressions = facts.expressions;
    this.vertexCount = arrays.rest.length / 3;
    this.count = facts.gaussians;
    this.rest = new Float32Array(arrays.rest.length);
    this.vertices = new Float32Array(arrays.rest.length);
    this.weights = new Float64Array(arrays.shape_scale.length);
    this.skin = Float32Array.from(arrays.skin, (share) => share / 65535);
    this.unpackGaussians();
    this.harmonics = facts.harmonics ? new Harmonics(facts, arrays) : null;
    this.network = facts.network ? new Network(this) : null;
  }

  // Local Gaussians: offsets, axes (rotation times scale, row-major 3 x 3), barycentrics, opacity.
  unpackGaussians() {
    const { facts, arrays, count } = this;
    this.means = Float32Array.from(arrays.g_mean, (v) => v * facts.meanScale);
    this.axes = new Float32Array(9 * count);
    this.bary = Float32Array.from(arrays.g_bary, (v) => v / 65535);
    this.opacity = Float32Array.from(arrays.g_opacity, (v) => v / 65535);
    const q = arrays.g_quat;
    for (let i = 0; i < count; i++) {
      const r = turnOf(q[4 * i], q[4 * i + 1], q[4 * i + 2], q[4 * i + 3]);
      for (let k = 0; k < 3; k++) {
        const log = arrays.g_log_scale[3 * i + k] * facts.logScaleScale + facts.logScaleMiddle;
        const scale = Math.exp(log);
        for (let row = 0; row < 3; row++) this.axes[9 * i + 3 * row + k] = r[3 * row + k] * scale;
      }
    }
  }

  // Weight of every shape: expressions, products of two, pose correctives.
  shapeWeights(row) {
    const { weights, expressions, facts } = this;
    for (let i = 0; i < expressions; i++) weights[i] = row[i];
    let at = expressions;
    for (const [a, b] of facts.products) weights[at++] = row[a] * row[b];
    if (facts.poseShapes) {
      for (const part of [POSE.neck, POSE.jaw, POSE.eyes, POSE.eyes + 3]) {
        const r = rotationOf(row, expressions + part);
        for (let k = 0; k < 9; k++) weights[at++] = r[k] - (k % 4 === 0 ? 1 : 0);
      }
    }
    return weights;
  }

  // World transforms of the five joints, x = R x_rest + t.
  jointTransforms(row) {
    const { facts, expressions } = this;
    const vector = (part) => Array.from(row.slice(expressions + part, expressions + part + 3));
    const joints = facts.joints.map((joint) => joint.slice());
    if (facts.jointExpression) {
      facts.jointExpression.forEach((moves, k) => {
        moves.forEach((move, j) => move.forEach((v, c) => { joints[j][c] += row[k] * v; }));
      });
    }
    const root = rotationOf(row, expressions + POSE.rotation);
    const neck = rotationOf(row, expressions + POSE.neck);
    const rootMove = vector(POSE.translation);
    const shift = vector(POSE.neckTranslation);
    const turned = apply(neck, joints[1]);
    const neckMove = apply(root, joints[1].map((v, c) => v - turned[c] + shift[c]));
    const head = times(root, neck);
    const headMove = neckMove.map((v, c) => v + rootMove[c]);
    const rotations = [root, head], moves = [rootMove, headMove];
    [POSE.jaw, POSE.eyes, POSE.eyes + 3].forEach((part, k) => {
      const own = rotationOf(row, expressions + part);
      const pivot = joints[2 + k];
      const swung = apply(own, pivot);
      const move = apply(head, pivot.map((v, c) => v - swung[c]));
      rotations.push(times(head, own));
      moves.push(move.map((v, c) => v + headMove[c]));
    });
    return { rotations, moves };
  }

  // Posed vertices in the world, Float32Array [3 V], for one driving row [Ke + 21].
  pose(row) {
    const { arrays, rest, vertices, skin, vertexCount } = this;
    const weights = this.shapeWeights(row);
    rest.set(arrays.rest);
    for (let s = 0; s < weights.length; s++) {
      if (weights[s] === 0) continue;
      const gain = weights[s] * arrays.shape_scale[s];
      const end = arrays.shape_start[s + 1];
      for (let n = arrays.shape_start[s]; n < end; n++) {
        const v = 3 * arrays.shape_vertex[n];
        rest[v] += gain * arrays.shape_delta[3 * n];
        rest[v + 1] += gain * arrays.shape_delta[3 * n + 1];
        rest[v + 2] += gain * arrays.shape_delta[3 * n + 2];
      }
    }
    const { rotations, moves } = this.jointTransforms(row);
    if (this.network) this.network.move(row, rotations);
    for (let i = 0; i < vertexCount; i++) {
      const x = rest[3 * i], y = rest[3 * i + 1], z = rest[3 * i + 2];
      let px = 0, py = 0, pz = 0;
      for (let j = 0; j < 5; j++) {
        const w = skin[5 * i + j];
        if (w === 0) continue;
        const r = rotations[j], t = moves[j];
        px += w * (r[0] * x + r[1] * y + r[2] * z + t[0]);
        py += w * (r[3] * x + r[4] * y + r[5] * z + t[1]);
        pz += w * (r[6] * x + r[7] * y + r[8] * z + t[2]);
      }
      vertices[3 * i] = px;
      vertices[3 * i + 1] = py;
      vertices[3 * i + 2] = pz;
    }
    return vertices;
  }
}
