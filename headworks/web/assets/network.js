// FlashAvatar's network in the page: where expression, jaw and eyes put each Gaussian.
// The arithmetic is that of headworks/avatars/flash_avatar (network.py, model.py).

const OUTPUTS = 10; // offset 3, rotation 4, scale 3
const TOGETHER = 4; // Gaussians per pass over the weights

class Network {
  constructor(avatar) {
    const { facts, arrays, count } = avatar;
    this.avatar = avatar;
    this.facts = facts.network;
    this.condition = [];
    this.spent = 0; // milliseconds of the last picture
    this.torso = [1, 0, 0, 0];
    this.neck = [1, 0, 0, 0];
    this.logScales = Float32Array.from(
      arrays.g_log_scale, (v) => v * facts.logScaleScale + facts.logScaleMiddle,
    );
    this.outputs = new Float32Array(OUTPUTS * count);
    this.encode();
  }

  // The part of the first layer that sees a Gaussian's place never changes.
  encode() {
    const { avatar: { arrays, count }, facts: { width, frequencies } } = this;
    const { net_point: points, net_weight_0: weight } = arrays;
    const inputs = weight.length / width, encoded = 3 * (1 + 2 * frequencies);
    const code = new Float64Array(encoded);
    this.first = new Float32Array(width * count);
    this.encoded = encoded;
    for (let i = 0; i < count; i++) {
      for (let c = 0; c < 3; c++) code[c] = points[3 * i + c];
      for (let l = 0, o = 3; l < frequencies; l++, o += 6) {
        for (let c = 0; c < 3; c++) {
          const angle = points[3 * i + c] * 2 ** l;
          code[o + c] = Math.sin(angle);
          code[o + 3 + c] = Math.cos(angle);
        }
      }
      for (let n = 0; n < width; n++) {
        let sum = 0;
        for (let k = 0, w = inputs * n; k < encoded; k++) sum += weight[w + k] * code[k];
        this.first[width * i + n] = sum;
      }
    }
  }

  // Where a driving row puts the Gaussians. rotations: of the joints.
  move(row, rotations) {
    const { expressions } = this.avatar;
    this.torso = quaternionOf(rotations[0]);
    this.neck = quaternionOf(rotations[1]);
    const condition = Array.from(row.slice(0, expressions));
    for (const part of [POSE.jaw, POSE.eyes, POSE.eyes + 3]) {
      condition.push(...rotationOf(row, expressions + part).slice(0, 6));
    }
    const start = performance.now();
    // Turning head or camera asks nothing new of the network.
    if (condition.some((value, k) => value !== this.condition[k])) {
      this.condition = condition;
      this.infer();
      this.shape();
    }
    this.spent = performance.now() - start;
  }

  infer() {
    const { avatar: { arrays, count }, facts: { layers, width }, first, encoded, outputs } = this;
    const { condition } = this;
    const inputs = encoded + condition.length;
    const bias = Float64Array.from(arrays.net_bias_0, (value, n) => {
      let sum = value;
      for (let k = 0; k < condition.length; k++) {
        sum += arrays.net_weight_0[inputs * n + encoded + k] * condition[k];
      }
      return sum;
    });
    let now = new Float32Array(TOGETHER * width), next = new Float32Array(TOGETHER * width);
    for (let i = 0; i < count; i += TOGETHER) {
      const here = Math.min(TOGETHER, count - i);
      for (let g = 0; g < TOGETHER; g++) {
        const from = width * Math.min(i + g, count - 1);
        for (let n = 0; n < width; n++) now[TOGETHER * n + g] = Math.max(0, first[from + n] + bias[n]);
      }
      for (let layer = 1; layer < layers; layer++) {
        const weight = arrays[`net_weight_${layer}`], own = arrays[`net_bias_${layer}`];
        const last = layer === layers - 1;
        for (let n = 0; n < own.length; n++) {
          let a = own[n], b = a, c = a, d = a;
          for (let k = 0, w = width * n, x = 0; k < width; k++, x += TOGETHER) {
            const by = weight[w + k];
            a += by * now[x];
            b += by * now[x + 1];
            c += by * now[x + 2];
            d += by * now[x + 3];
          }
          const o = TOGETHER * n;
          next[o] = last ? a : Math.max(0, a);
          next[o + 1] = last ? b : Math.max(0, b);
          next[o + 2] = last ? c : Math.max(0, c);
          next[o + 3] = last ? d : Math.max(0, d);
        }
        [now, next] = [next, now];
      }
      for (let g = 0; g < here; g++) {
        for (let n = 0; n < OUTPUTS; n++) {
          outputs[OUTPUTS * (i + g) + n] = Math.tanh(now[TOGETHER * n + g]);
        }
      }
    }
  }

  // Outputs into the avatar's offsets and axes.
  shape() {
    const { avatar: { arrays, count, means, axes }, facts, outputs, logScales } = this;
    const quats = arrays.g_quat, additive = facts.scaleMode === "additive";
    for (let i = 0; i < count; i++) {
      const o = OUTPUTS * i, q = 4 * i;
      for (let c = 0; c < 3; c++) means[3 * i + c] = outputs[o + c];
      const aw = quats[q], ax = quats[q + 1], ay = quats[q + 2], az = quats[q + 3];
      const bw = Math.exp(outputs[o + 3]);
      const bx = outputs[o + 4], by = outputs[o + 5], bz = outputs[o + 6];
      const turn = turnOf(
        aw * bw - ax * bx - ay * by - az * bz, aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx, aw * bz + ax * by - ay * bx + az * bw,
      );
      for (let k = 0; k < 3; k++) {
        const log = logScales[3 * i + k], y = outputs[o + 7 + k];
        const scale = Math.exp(additive ? log + y : log * Math.exp(y));
        for (let r = 0; r < 3; r++) axes[9 * i + 3 * r + k] = turn[3 * r + k] * scale;
      }
    }
  }

  // Each Gaussian's frame in the camera: the head's turn there, blended from torso to neck.
  frames([a, b, c, , d, e, f, , g, h, i], out) {
    const { avatar: { arrays, count }, torso, neck } = this;
    const follows = arrays.net_follows;
    const same = torso.reduce((sum, value, k) => sum + value * neck[k], 0) < 0 ? -1 : 1;
    const by = neck.map((value, k) => same * value - torso[k]);
    for (let n = 0, o = 0; n < count; n++) {
      const w = follows[n];
      const r = turnOf(
        torso[0] + w * by[0], torso[1] + w * by[1], torso[2] + w * by[2], torso[3] + w * by[3],
      );
      for (let k = 0; k < 3; k++, o++) {
        out[o] = a * r[k] + b * r[3 + k] + c * r[6 + k];
        out[o + 3] = d * r[k] + e * r[3 + k] + f * r[6 + k];
        out[o + 6] = g * r[k] + h * r[3 + k] + i * r[6 + k];
      }
      o += 6;
    }
  }
}

// Unit quaternion, wxyz, of a row-major rotation.
function quaternionOf(m) {
  const trace = m[0] + m[4] + m[8];
  let q;
  if (trace >= m[0] && trace >= m[4] && trace >= m[8]) {
    q = [1 + trace, m[7] - m[5], m[2] - m[6], m[3] - m[1]];
  } else if (m[0] >= m[4] && m[0] >= m[8]) {
    q = [m[7] - m[5], 1 + 2 * m[0] - trace, m[3] + m[1], m[6] + m[2]];
  } else if (m[4] >= m[8]) {
    q = [m[2] - m[6], m[3] + m[1], 1 + 2 * m[4] - trace, m[7] + m[5]];
  } else {
    q = [m[3] - m[1], m[6] + m[2], m[7] + m[5], 1 + 2 * m[8] - trace];
  }
  const norm = Math.hypot(...q);
  return q.map((value) => value / norm);
}
