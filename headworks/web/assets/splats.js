// From a posed mesh to ellipses on the screen, farthest first.
// The arithmetic is that of headworks/splat (constants included); positions stay in camera space.

const EPS2D = 0.3;
const MIN_ALPHA = 1 / 255;
const MAX_EXTENT = 3.33;
const TAN_MARGIN = 0.3;
const NEAR = 0.01;
const BUCKETS = 65536;
const RECORD = 8; // floats per ellipse: u, v, axis x, axis y, ratio, opacity; red, green | blue
const ACROSS = 512; // ellipses per row of the texture that carries them

class Splats {
  constructor(avatar) {
    const n = avatar.count;
    this.avatar = avatar;
    this.camera = new Float32Array(3 * avatar.vertexCount);
    // Frames of triangles; where a network moves the Gaussians, each has one of its own.
    this.frames = new Float32Array(avatar.network ? 9 * n : 3 * avatar.arrays.triangles.length);
    this.frameOf = avatar.network ? Uint32Array.from({ length: n }, (_, i) => i)
      : avatar.arrays.g_triangle;
    this.tint = new Float32Array(3);
    this.depth = new Float32Array(n);
    this.unsorted = new Float32Array(RECORD * n);
    this.records = new Float32Array(RECORD * ACROSS * Math.max(1, Math.ceil(n / ACROSS)));
    this.keys = new Uint16Array(n);
    this.order = new Uint32Array(n);
    this.starts = new Uint32Array(BUCKETS + 1);
    this.rgb = new Uint16Array(this.unsorted.buffer);
    this.words = new Uint32Array(this.unsorted.buffer);
    this.sortedWords = new Uint32Array(this.records.buffer);
  }

  // view: row-major 4 x 4 world-to-camera, OpenCV axes. Returns how many ellipses are to be drawn.
  project(vertices, { view, fx, fy, cx, cy, width, height }) {
    this.toCamera(vertices, view);
    const { avatar, camera, frames, frameOf, depth, unsorted, rgb, tint } = this;
    const { means, axes, bary, opacity, count, arrays, harmonics } = avatar;
    const { g_triangle: owner, triangles, g_color: colour } = arrays;
    if (avatar.network) avatar.network.frames(view, frames);
    else this.triangleFrames();
    const about = harmonics && harmonics.axes === "head" ? frames : view;
    const marginX = (TAN_MARGIN * 0.5 * width) / fx, marginY = (TAN_MARGIN * 0.5 * height) / fy;
    const right = (width - cx) / fx + marginX, left = cx / fx + marginX;
    const bottom = (height - cy) / fy + marginY, top = cy / fy + marginY;
    let shown = 0, nearest = Infinity, farthest = -Infinity;
    for (let i = 0; i < count; i++) {
      const f = 9 * frameOf[i], c = 3 * owner[i], m = 3 * i, a = 9 * i;
      const b0 = bary[2 * i], b1 = bary[2 * i + 1], b2 = 1 - b0 - b1;
      const v0 = 3 * triangles[c], v1 = 3 * triangles[c + 1], v2 = 3 * triangles[c + 2];
      const mx = means[m], my = means[m + 1], mz = means[m + 2];
      const f0 = frames[f], f1 = frames[f + 1], f2 = frames[f + 2];
      const f3 = frames[f + 3], f4 = frames[f + 4], f5 = frames[f + 5];
      const f6 = frames[f + 6], f7 = frames[f + 7], f8 = frames[f + 8];
      const z = b0 * camera[v0 + 2] + b1 * camera[v1 + 2] + b2 * camera[v2 + 2]
        + f6 * mx + f7 * my + f8 * mz;
      if (!(z >= NEAR)) continue;
      const x = b0 * camera[v0] + b1 * camera[v1] + b2 * camera[v2] + f0 * mx + f1 * my + f2 * mz;
      const y = b0 * camera[v0 + 1] + b1 * camera[v1 + 1] + b2 * camera[v2 + 1]
        + f3 * mx + f4 * my + f5 * mz;
      const tanX = Math.min(right, Math.max(-left, x / z));
      const tanY = Math.min(bottom, Math.max(-top, y / z));
      const j00 = fx / z, j02 = -j00 * tanX, j11 = fy / z, j12 = -j11 * tanY;
      let cxx = EPS2D, cxy = 0, cyy = EPS2D;
      for (let k = 0; k < 3; k++) {
        const p = axes[a + k], q = axes[a + 3 + k], r = axes[a + 6 + k];
        const deep = f6 * p + f7 * q + f8 * r;
        const across = j00 * (f0 * p + f1 * q + f2 * r) + j02 * deep;
        const down = j11 * (f3 * p + f4 * q + f5 * r) + j12 * deep;
        cxx += across * across;
        cxy += across * down;
        cyy += down * down;
      }
      if (!(cxx * cyy - cxy * cxy > 0) || opacity[i] < MIN_ALPHA) continue;
      const extent = Math.min(MAX_EXTENT, Math.sqrt(2 * Math.log(255 * opacity[i])));
      const rx = Math.ceil(extent * Math.sqrt(cxx)), ry = Math.ceil(extent * Math.sqrt(cyy));
      const u = (fx * x) / z + cx, v = (fy * y) / z + cy;
      if (u + rx <= 0 || u - rx >= width || v + ry <= 0 || v - ry >= height) continue;
      // Half axes of the ellipse at one standard deviation.
      const half = 0.5 * (cxx - cyy);
      const radius = Math.sqrt(half * half + cxy * cxy);
      const large = 0.5 * (cxx + cyy) + radius, small = Math.max(large - 2 * radius, 1e-9);
      let dx = 1, dy = 0;
      if (radius > 1e-12) {
        if (half >= 0) { dx = half + radius; dy = cxy; } else { dx = cxy; dy = radius - half; }
        const norm = Math.sqrt(dx * dx + dy * dy);
        dx /= norm;
        dy /= norm;
      }
      const length = Math.sqrt(large), o = RECORD * shown, o2 = 2 * (o + 6);
      unsorted[o] = u;
      unsorted[o + 1] = v;
      unsorted[o + 2] = dx * length;
      unsorted[o + 3] = dy * length;
      unsorted[o + 4] = Math.sqrt(small / large);
      unsorted[o + 5] = opacity[i];
      tint[0] = colour[m]; tint[1] = colour[m + 1]; tint[2] = colour[m + 2];
      if (harmonics) harmonics.add(tint, i, x, y, z, about, f);
      for (let k = 0; k < 3; k++) rgb[o2 + k] = Math.min(65535, Math.max(0, tint[k] + 0.5));
      depth[shown++] = z;
      if (z < nearest) nearest = z;
      if (z > farthest) farthest = z;
    }
    this.sort(shown, nearest, farthest);
    return shown;
  }

  toCamera(vertices, view) {
    const { camera } = this;
    const [a, b, c, d, e, f, g, h, i, j, k, l] = view;
    for (let n = 0; n < camera.length; n += 3) {
      const x = vertices[n], y = vertices[n + 1], z = vertices[n + 2];
      camera[n] = a * x + b * y + c * z + d;
      camera[n + 1] = e * x + f * y + g * z + h;
      camera[n + 2] = i * x + j * y + k * z + l;
    }
  }

  // Size times rotation of each triangle's frame, row-major: columns are the first edge, the
  // normal, and in the plane away from the third corner (GASP, section 3.2).
  triangleFrames() {
    const { camera, frames } = this;
    const { triangles } = this.avatar.arrays;
    for (let t = 0, f = 0; t < triangles.length; t += 3, f += 9) {
      const p = 3 * triangles[t], q = 3 * triangles[t + 1], r = 3 * triangles[t + 2];
      let ex = camera[q] - camera[p], ey = camera[q + 1] - camera[p + 1];
      let ez = camera[q + 2] - camera[p + 2];
      const sx = camera[r] - camera[p], sy = camera[r + 1] - camera[p + 1];
      const sz = camera[r + 2] - camera[p + 2];
      const length = Math.sqrt(Math.max(ex * ex + ey * ey + ez * ez, 1e-20));
      ex /= length; ey /= length; ez /= length;
      let nx = ey * sz - ez * sy, ny = ez * sx - ex * sz, nz = ex * sy - ey * sx;
      const area = Math.sqrt(Math.max(nx * nx + ny * ny + nz * nz, 1e-20));
      nx /= area; ny /= area; nz /= area;
      const hx = ey * nz - ez * ny, hy = ez * nx - ex * nz, hz = ex * ny - ey * nx;
      const size = 0.5 * (length + Math.abs(hx * sx + hy * sy + hz * sz));
      frames[f] = size * ex; frames[f + 1] = size * nx; frames[f + 2] = size * hx;
      frames[f + 3] = size * ey; frames[f + 4] = size * ny; frames[f + 5] = size * hy;
      frames[f + 6] = size * ez; frames[f + 7] = size * nz; frames[f + 8] = size * hz;
    }
  }

  // Counting sort on 16-bit depths, farthest first; ties as our renderer has them, later index
  // behind the earlier one.
  sort(shown, nearest, farthest) {
    const { depth, keys, order, starts, words, sortedWords } = this;
    const scale = (BUCKETS - 1) / Math.max(farthest - nearest, 1e-9);
    starts.fill(0);
    for (let i = 0; i < shown; i++) {
      const key = ((farthest - depth[i]) * scale) | 0;
      keys[i] = key;
      starts[key + 1]++;
    }
    for (let b = 0; b < BUCKETS; b++) starts[b + 1] += starts[b];
    for (let i = shown - 1; i >= 0; i--) order[starts[keys[i]]++] = i;
    for (let n = 0, o = 0; n < shown; n++) {
      const from = RECORD * order[n];
      for (let k = 0; k < RECORD; k++) sortedWords[o++] = words[from + k];
    }
  }
}
