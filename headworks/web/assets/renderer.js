// WebGL2: ellipses blended into a half-float picture, then laid over the background.

class Renderer {
  constructor(canvas, shaders, maxAlpha) {
    this.canvas = canvas;
    this.shaders = shaders;
    this.maxAlpha = maxAlpha;
    this.gl = canvas.getContext("webgl2", {
      alpha: false, antialias: false, depth: false, stencil: false,
      powerPreference: "high-performance",
    });
    if (!this.gl) throw new Error("This browser offers no WebGL2.");
    this.build();
  }

  build() {
    const { gl } = this;
    this.splat = this.program("splat", ["size", "most", "ellipses"]);
    this.paper = this.program("paper", ["blended", "background"]);
    // Eight bits per blend leave visible rounding after dozens of layers.
    const floats = gl.getExtension("EXT_color_buffer_float")
      || gl.getExtension("EXT_color_buffer_half_float");
    this.fineFormat = floats ? gl.RGBA16F : gl.RGBA8;
    this.indices = gl.createBuffer();
    this.capacity = 0;
    this.ellipses = null;
    this.layout = gl.createVertexArray();
    this.nothing = gl.createVertexArray();
    this.target = { width: 0, height: 0, format: 0, texture: null, frame: gl.createFramebuffer() };
  }

  // Room for so many ellipses: two triangles each, and a texture of their numbers. (Instances
  // would do without both, but cost software renderers and some drivers far more.)
  reserve(count) {
    const { gl } = this;
    if (count <= this.capacity) return;
    const corners = new Uint32Array(6 * count);
    for (let n = 0; n < count; n++) {
      corners.set([4 * n, 4 * n + 1, 4 * n + 2, 4 * n + 2, 4 * n + 1, 4 * n + 3], 6 * n);
    }
    gl.bindVertexArray(this.layout);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.indices);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, corners, gl.STATIC_DRAW);
    gl.bindVertexArray(null);
    if (this.ellipses) gl.deleteTexture(this.ellipses);
    this.ellipses = this.texture(gl.RGBA32UI, 2 * ACROSS, Math.ceil(count / ACROSS));
    this.capacity = count;
  }

  texture(format, width, height) {
    const { gl } = this;
    const made = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, made);
    gl.texStorage2D(gl.TEXTURE_2D, 1, format, width, height);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    return made;
  }

  program(name, uniforms) {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, type] of [["vert", gl.VERTEX_SHADER], ["frag", gl.FRAGMENT_SHADER]]) {
      const shader = gl.createShader(type);
      gl.shaderSource(shader, this.shaders[`${name}.${kind}`]);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost()) {
        throw new Error(`${name}.${kind}: ${gl.getShaderInfoLog(shader)}`);
      }
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
      throw new Error(`${name}: ${gl.getProgramInfoLog(program)}`);
    }
    const out = { program };
    for (const uniform of uniforms) out[uniform] = gl.getUniformLocation(program, uniform);
    return out;
  }

  // fine: blend in half floats where the device can; drafts are quicker in software.
  resize(width, height, fine = true) {
    const { gl, canvas, target } = this;
    const format = fine ? this.fineFormat : gl.RGBA8;
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    if (target.width === width && target.height === height && target.format === format) return;
    if (target.texture) gl.deleteTexture(target.texture);
    target.texture = this.texture(format, width, height);
    gl.bindFramebuffer(gl.FRAMEBUFFER, target.frame);
    gl.framebufferTexture2D(
      gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, target.texture, 0,
    );
    if (gl.checkFramebufferStatus(gl.FRAMEBUFFER) !== gl.FRAMEBUFFER_COMPLETE) {
      if (format === gl.RGBA8) throw new Error("The graphics driver refuses to draw.");
      this.fineFormat = gl.RGBA8;
      target.width = 0;
      this.resize(width, height, fine);
      return;
    }
    Object.assign(target, { width, height, format });
  }

  // words: sorted ellipses, `count` of them, in whole rows; background: [r, g, b] in [0, 1].
  draw(words, count, background) {
    const { gl, target } = this;
    this.reserve(words.length / RECORD);
    gl.bindFramebuffer(gl.FRAMEBUFFER, target.frame);
    gl.viewport(0, 0, target.width, target.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.bindTexture(gl.TEXTURE_2D, this.ellipses);
    const rows = Math.ceil(count / ACROSS);
    gl.texSubImage2D(
      gl.TEXTURE_2D, 0, 0, 0, 2 * ACROSS, rows, gl.RGBA_INTEGER, gl.UNSIGNED_INT, words,
    );
    gl.useProgram(this.splat.program);
    gl.uniform2f(this.splat.size, target.width, target.height);
    gl.uniform1f(this.splat.most, this.maxAlpha);
    gl.uniform1i(this.splat.ellipses, 0);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.bindVertexArray(this.layout);
    gl.drawElements(gl.TRIANGLES, 6 * count, gl.UNSIGNED_INT, 0);
    gl.disable(gl.BLEND);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.useProgram(this.paper.program);
    gl.uniform3f(this.paper.background, ...background);
    gl.bindTexture(gl.TEXTURE_2D, target.texture);
    gl.uniform1i(this.paper.blended, 0);
    gl.bindVertexArray(this.nothing);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    gl.bindVertexArray(null);
  }

  // The canvas as RGB bytes, top row first; only right after `draw`.
  pixels() {
    const { gl, target: { width, height } } = this;
    const raw = new Uint8Array(4 * width * height);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, raw);
    const out = new Uint8Array(3 * width * height);
    for (let y = 0, o = 0; y < height; y++) {
      for (let x = 0, i = 4 * width * (height - 1 - y); x < width; x++, i += 4) {
        out[o++] = raw[i];
        out[o++] = raw[i + 1];
        out[o++] = raw[i + 2];
      }
    }
    return out;
  }
}
