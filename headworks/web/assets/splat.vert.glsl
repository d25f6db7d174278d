#version 300 es
// One ellipse per four vertices: a square in units of its standard deviations.
precision highp float;
precision highp int;
uniform highp usampler2D ellipses; // two texels each: (u, v, axis), (ratio, opacity, colour in 8192ths)
uniform vec2 size;
out vec2 place;
flat out float strength;
flat out vec3 tint;

void main() {
  int number = gl_VertexID >> 2;
  int across = textureSize(ellipses, 0).x >> 1;
  ivec2 at = ivec2((number % across) << 1, number / across);
  vec4 line = uintBitsToFloat(texelFetch(ellipses, at, 0));
  uvec4 rest = texelFetch(ellipses, at + ivec2(1, 0), 0);
  float ratio = uintBitsToFloat(rest.x); // shorter over longer axis
  strength = uintBitsToFloat(rest.y);
  tint = vec3(uvec3(rest.z, rest.z >> 16, rest.w) & 65535u) / 8192.0;
  float extent = min(3.33, sqrt(2.0 * log(255.0 * strength)));
  place = extent * (vec2(gl_VertexID & 1, (gl_VertexID >> 1) & 1) * 2.0 - 1.0);
  vec2 point = line.xy + place.x * line.zw + place.y * ratio * vec2(-line.w, line.z);
  gl_Position = vec4(2.0 * point.x / size.x - 1.0, 1.0 - 2.0 * point.y / size.y, 0.0, 1.0);
}
