#version 300 es
// The blended Gaussians over the background, in sRGB as the pictures they were fitted to.
precision highp float;
uniform sampler2D blended;
uniform vec3 background;
out vec4 colour;

void main() {
  vec4 over = texelFetch(blended, ivec2(gl_FragCoord.xy), 0);
  colour = vec4(over.rgb + (1.0 - over.a) * background, 1.0);
}
