#version 300 es
precision highp float;
in vec2 place;
flat in float strength;
flat in vec3 tint;
uniform float most; // no Gaussian is more opaque than this
out vec4 premultiplied;

void main() {
  float alpha = min(most, strength * exp(-0.5 * dot(place, place)));
  if (alpha < 1.0 / 255.0) discard;
  premultiplied = vec4(tint * alpha, alpha);
}
