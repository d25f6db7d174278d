// Colours that depend on where they are seen from: spherical harmonics to degree 3.
// The arithmetic is that of headworks/splat/sh.py.

const SH1 = 0.4886025119029199;
const SH2 = [1.0925484305920792, 0.31539156525252005, 0.5462742152960396];
const SH3 = [
  0.5900435899266435, 2.890611442640554, 0.4570457994644658, 0.3731763325901154, 1.445305721320277,
];

class Harmonics {
  constructor(facts, arrays) {
    this.axes = facts.harmonics.axes; // about whose axes: "world" or "head"
    this.scales = facts.harmonics.scales.map((scale) => scale * facts.colorOne);
    this.count = this.scales.length; // without the constant one
    this.coefficients = arrays.g_sh;
    this.values = new Float64Array(15);
  }

  // Adds Gaussian i's part to a colour, as seen from the camera's centre. x, y, z: its place in the
  // camera's axes; about[at..]: row-major matrix from the harmonics' axes to the camera's, three
  // (a head's) or four (the world's view) numbers a row.
  add(colour, i, x, y, z, about, frame) {
    const { values: v, count, scales, coefficients } = this;
    const [at, row] = this.axes === "head" ? [frame, 3] : [0, 4];
    let a = about[at] * x + about[at + row] * y + about[at + 2 * row] * z;
    let b = about[at + 1] * x + about[at + row + 1] * y + about[at + 2 * row + 1] * z;
    let c = about[at + 2] * x + about[at + row + 2] * y + about[at + 2 * row + 2] * z;
    const norm = Math.sqrt(a * a + b * b + c * c) || 1;
    a /= norm; b /= norm; c /= norm;
    v[0] = -SH1 * b; v[1] = SH1 * c; v[2] = -SH1 * a;
    if (count > 3) {
      const aa = a * a, bb = b * b, cc = c * c;
      v[3] = SH2[0] * a * b;
      v[4] = -SH2[0] * b * c;
      v[5] = SH2[1] * (2 * cc - aa - bb);
      v[6] = -SH2[0] * a * c;
      v[7] = SH2[2] * (aa - bb);
      if (count > 8) {
        v[8] = -SH3[0] * b * (3 * aa - bb);
        v[9] = SH3[1] * a * b * c;
        v[10] = -SH3[2] * b * (4 * cc - aa - bb);
        v[11] = SH3[3] * c * (2 * cc - 3 * aa - 3 * bb);
        v[12] = -SH3[2] * a * (4 * cc - aa - bb);
        v[13] = SH3[4] * c * (aa - bb);
        v[14] = -SH3[0] * a * (aa - 3 * bb);
      }
    }
    for (let k = 0, o = 3 * count * i; k < count; k++) {
      const weight = v[k] * scales[k];
      colour[0] += weight * coefficients[o++];
      colour[1] += weight * coefficients[o++];
      colour[2] += weight * coefficients[o++];
    }
  }
}
