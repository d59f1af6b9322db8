// Drawing with WebGL 2: skinned bodies, a floor with grid and soft shadows, marks and lines. No library.

const SKIN = `
layout(location = 0) in vec3 position;
layout(location = 1) in vec3 normal;
layout(location = 2) in uvec4 joints;
layout(location = 3) in vec4 weights;
uniform highp sampler2D bones;
uniform float size;
uniform vec3 shift;
void skinned(out vec3 place, out vec3 turned) {
  vec4 rows[3] = vec4[3](vec4(0.0), vec4(0.0), vec4(0.0));
  for (int k = 0; k < 4; k++) {
    int joint = int(joints[k]);
    for (int r = 0; r < 3; r++) rows[r] += weights[k] * texelFetch(bones, ivec2(r, joint), 0);
  }
  vec4 at = vec4(position * size, 1.0);
  place = vec3(dot(rows[0], at), dot(rows[1], at), dot(rows[2], at)) + shift;
  turned = vec3(dot(rows[0].xyz, normal), dot(rows[1].xyz, normal), dot(rows[2].xyz, normal));
}`;

const SHADOW = `
uniform highp sampler2DShadow shade;
uniform mat4 lamp;
uniform vec3 light;
const vec2 TAPS[8] = vec2[8](vec2(-.7,-.2), vec2(.2,-.75), vec2(.75,.15), vec2(-.15,.7), vec2(-.35,-.9)*.5, vec2(.9,-.3)*.5, vec2(.3,.85)*.5, vec2(-.9,.4)*.5);
float lit(vec3 place, float spread) {
  vec4 p = lamp * vec4(place, 1.0);
  vec3 at = p.xyz * 0.5 + 0.5;
  if (any(lessThan(at, vec3(0.0))) || any(greaterThan(at, vec3(1.0)))) return 1.0;
  float angle = 6.2832 * fract(52.9829 * fract(dot(gl_FragCoord.xy, vec2(0.06711, 0.00584))));
  mat2 turn = mat2(cos(angle), sin(angle), -sin(angle), cos(angle));
  float sum = 0.0;
  for (int k = 0; k < 8; k++) sum += texture(shade, vec3(at.xy + turn * TAPS[k] * spread, at.z));
  return sum / 8.0;
}
vec3 encoded(vec3 linear) { return pow(clamp(linear, 0.0, 1.0), vec3(1.0 / 2.2)); }`;

const PROGRAMS = {
  body: [`${SKIN}
uniform mat4 camera;
out vec3 at; out vec3 facing;
void main() { skinned(at, facing); gl_Position = camera * vec4(at, 1.0); }`,
  `${SHADOW}
uniform vec4 colour; uniform vec3 eye; uniform float night;
in vec3 at; in vec3 facing;
out vec4 pixel;
void main() {
  vec3 n = normalize(facing), v = normalize(eye - at);
  float sun = max((dot(n, light) + 0.18) / 1.18, 0.0) * lit(at + n * 0.018, 0.0022);
  float above = 0.5 + 0.5 * n.y;
  float sky = (0.21 + 0.27 * above) * mix(1.0, 0.62, night) + 0.10 * (1.0 - above);
  sky *= mix(0.72, 1.0, smoothstep(0.0, 0.5, at.y));
  float shine = pow(max(dot(n, normalize(light + v)), 0.0), 12.0 + 70.0 * colour.a) * colour.a * sun;
  shine += pow(1.0 - abs(dot(n, v)), 4.0) * mix(0.18, 0.14, night);
  vec3 warm = vec3(1.03, 1.0, 0.95) * 1.08 * sun, cool = vec3(0.97, 1.0, 1.06) * sky;
  pixel = vec4(encoded(colour.rgb * (warm + cool) + shine), 1.0);
}`],
  cast: [`${SKIN}
uniform mat4 lamp;
void main() { vec3 at, n; skinned(at, n); gl_Position = lamp * vec4(at, 1.0); }`, `void main() {}`],
  floor: [`layout(location = 0) in vec3 position; uniform mat4 camera; uniform vec3 middle; out vec3 at;
void main() { at = vec3(position.x * 70.0 + middle.x, 0.0, position.z * 70.0 + middle.z); gl_Position = camera * vec4(at, 1.0); }`,
  `${SHADOW}
uniform vec3 eye, middle, ground, wall; uniform float night; uniform vec4 balls[40]; uniform int ballCount;
in vec3 at; out vec4 pixel;
float lines(float spacing, float width) {
  vec2 p = at.xz / spacing, d = max(fwidth(p), vec2(1e-5)), near = abs(fract(p - 0.5) - 0.5);
  vec2 half_width = vec2(width / spacing) * 0.5;
  vec2 share = clamp((half_width + 0.5 * d - near) / d, 0.0, 1.0) * min(vec2(1.0), (2.0 * half_width + d) / d);
  share = mix(share, 2.0 * half_width, clamp(d * 1.6 - 0.4, 0.0, 1.0));
  return max(share.x, share.y);
}
void main() {
  float open = 1.0;
  for (int k = 0; k < ballCount; k++) {
    vec3 d = balls[k].xyz - at;
    float r = balls[k].w, q = dot(d, d);
    open *= 1.0 - min(0.8 * max(d.y, 0.0) * r * r / (q * sqrt(q) + 1e-6), 0.6);
  }
  float shadow = lit(at + vec3(0.0, 0.004, 0.0), 0.0050);
  float brightness = (0.46 + 0.54 * shadow) * (0.4 + 0.6 * open);
  float mark = mix(-0.15, 0.45, night) * lines(0.5, 0.010) + mix(-0.24, 0.8, night) * lines(2.0, 0.018);
  vec3 colour = ground * brightness * (1.0 + mark);
  float haze = 1.0 - exp(-pow(length(at - eye) / 17.0, 2.0));
  pixel = vec4(encoded(mix(colour, wall, haze)), 1.0);
}`],
  wall: [`layout(location = 0) in vec3 position; out float height;
void main() { height = position.z; gl_Position = vec4(position.x, position.z, 0.99999, 1.0); }`,
  `uniform vec3 low, high; uniform float horizon; in float height; out vec4 pixel;
vec3 encoded(vec3 c) { return pow(clamp(c, 0.0, 1.0), vec3(1.0 / 2.2)); }
void main() { pixel = vec4(encoded(mix(low, high, smoothstep(horizon, horizon + 1.6, height))), 1.0); }`],
  mark: [`layout(location = 0) in vec3 position; uniform mat4 camera; uniform vec4 place; out vec2 at;
void main() { at = position.xz; gl_Position = camera * vec4(position * place.w + place.xyz, 1.0); }`,
  `uniform vec4 tint; in vec2 at; out vec4 pixel;
void main() {
  float r = length(at), w = fwidth(r);
  float ring = smoothstep(0.62 - w, 0.62 + w, r) * (1.0 - smoothstep(0.9 - w, 0.9 + w, r));
  float glow = (1.0 - smoothstep(0.0, 1.0, r)) * 0.45;
  pixel = vec4(tint.rgb, tint.a * max(ring, glow));
}`],
  line: [`layout(location = 0) in vec3 position; uniform mat4 camera; uniform vec3 shift;
void main() { gl_Position = camera * vec4(position + shift, 1.0); }`,
  `uniform vec4 tint; out vec4 pixel; void main() { pixel = tint; }`],
};

class Renderer {
  constructor(canvas, bodies, persons) {
    const gl = canvas.getContext("webgl2", { antialias: true, alpha: false, preserveDrawingBuffer: true });
    if (!gl) throw new Error("This page draws with WebGL 2, which this browser does not offer.");
    Object.assign(this, { gl, canvas, persons });
    this.programs = {};
    for (const [name, [vertex, fragment]] of Object.entries(PROGRAMS)) this.programs[name] = this.program(vertex, fragment);
    for (const body of bodies) this.upload(body);
    for (const person of persons) person.bones = this.boneTexture(person.joints);
    this.quad = this.vertices(new Float32Array([-1, 0, -1, 1, 0, -1, -1, 0, 1, 1, 0, 1]));
    this.lines = this.vertices(new Float32Array(3), gl.DYNAMIC_DRAW);
    this.makeShadowMap(2048);
    this.light = [0.42, 0.82, 0.39].map((x) => x / Math.hypot(0.42, 0.82, 0.39));
  }

  program(vertex, fragment) {
    const gl = this.gl, program = gl.createProgram(), head = "#version 300 es\nprecision highp float;\nprecision highp int;\n";
    for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, head + source);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    const uniforms = {};
    for (let k = 0; k < gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS); k++) {
      const { name } = gl.getActiveUniform(program, k);
      uniforms[name.replace("[0]", "")] = gl.getUniformLocation(program, name);
    }
    return { program, uniforms };
  }

  vertices(values, usage) {
    const gl = this.gl, array = gl.createVertexArray(), buffer = gl.createBuffer();
    gl.bindVertexArray(array);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, values, usage || gl.STATIC_DRAW);
    gl.enableVertexAttribArray(0);
    gl.vertexAttribPointer(0, 3, gl.FLOAT, false, 0, 0);
    return { array, buffer };
  }

  upload(body) {
    const gl = this.gl;
    body.array = gl.createVertexArray();
    gl.bindVertexArray(body.array);
    const attribute = (index, values, define) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
      gl.enableVertexAttribArray(index);
      define(index);
    };
    attribute(0, body.positions, (k) => gl.vertexAttribPointer(k, 3, gl.SHORT, false, 0, 0));
    attribute(1, body.normals, (k) => gl.vertexAttribPointer(k, 3, gl.FLOAT, false, 0, 0));
    attribute(2, body.joints, (k) => gl.vertexAttribIPointer(k, 4, gl.UNSIGNED_SHORT, 0, 0));
    attribute(3, body.weights, (k) => gl.vertexAttribPointer(k, 4, gl.UNSIGNED_BYTE, true, 0, 0));
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, body.faces, gl.STATIC_DRAW);
  }

  boneTexture(joints) {
    const gl = this.gl, texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA32F, 3, joints);
    for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, filter, gl.NEAREST);
    return texture;
  }

  makeShadowMap(side) {
    const gl = this.gl;
    this.shadow = { side, texture: gl.createTexture(), frame: gl.createFramebuffer() };
    gl.bindTexture(gl.TEXTURE_2D, this.shadow.texture);
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.DEPTH_COMPONENT24, side, side);
    for (const [name, value] of [[gl.TEXTURE_MIN_FILTER, gl.LINEAR], [gl.TEXTURE_MAG_FILTER, gl.LINEAR], [gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE],
      [gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE], [gl.TEXTURE_COMPARE_MODE, gl.COMPARE_REF_TO_TEXTURE], [gl.TEXTURE_COMPARE_FUNC, gl.LEQUAL]])
      gl.texParameteri(gl.TEXTURE_2D, name, value);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.shadow.frame);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.DEPTH_ATTACHMENT, gl.TEXTURE_2D, this.shadow.texture, 0);
    gl.drawBuffers([gl.NONE]);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
  }

  use(name, values) {
    const gl = this.gl, { program, uniforms } = this.programs[name];
    gl.useProgram(program);
    for (const [key, value] of Object.entries(values)) this.set(uniforms[key], value, key);
    return uniforms;
  }

  set(where, value, key) {
    const gl = this.gl;
    if (where === undefined) return;
    if (key === "bones" || key === "shade" || key === "ballCount") gl.uniform1i(where, value);
    else if (key === "balls") gl.uniform4fv(where, value);
    else if (typeof value === "number") gl.uniform1f(where, value);
    else if (value.length === 3) gl.uniform3fv(where, value);
    else if (value.length === 4) gl.uniform4fv(where, value);
    else gl.uniformMatrix4fv(where, false, value);
  }

  bodiesWith(name, values, coloured) {
    const gl = this.gl, uniforms = this.use(name, { ...values, bones: 0 });
    for (const person of this.persons) {
      gl.activeTexture(gl.TEXTURE0);
      gl.bindTexture(gl.TEXTURE_2D, person.bones);
      gl.bindVertexArray(person.body.array);
      this.set(uniforms.size, person.body.scale, "size");
      this.set(uniforms.shift, person.shift, "shift");
      for (const part of person.body.parts) {
        if (coloured) this.set(uniforms.colour, person.colours[part.material], "colour");
        gl.drawElements(gl.TRIANGLES, part.count, gl.UNSIGNED_INT, 4 * part.first);
      }
    }
  }

  draw(view) {
    const gl = this.gl, { canvas } = this;
    for (const person of this.persons) {
      gl.bindTexture(gl.TEXTURE_2D, person.bones);
      gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, 3, person.joints, gl.RGBA, gl.FLOAT, person.matrices);
    }
    gl.enable(gl.DEPTH_TEST);
    gl.enable(gl.CULL_FACE);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.shadow.frame);
    gl.viewport(0, 0, this.shadow.side, this.shadow.side);
    gl.clear(gl.DEPTH_BUFFER_BIT);
    this.bodiesWith("cast", { lamp: view.lamp }, false);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.activeTexture(gl.TEXTURE1);
    gl.bindTexture(gl.TEXTURE_2D, this.shadow.texture);
    const shared = { camera: view.camera, lamp: view.lamp, light: this.light, shade: 1, eye: view.eye, night: view.night };
    this.bodiesWith("body", shared, true);
    gl.disable(gl.CULL_FACE);
    gl.bindVertexArray(this.quad.array);
    if (view.eye[1] > 0) {
      this.use("floor", { ...shared, middle: view.middle, ground: view.ground, wall: view.low, balls: view.balls, ballCount: view.balls.length / 4 });
      gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
    }
    this.use("wall", { low: view.low, high: view.high, horizon: view.horizon });
    gl.depthFunc(gl.LEQUAL);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
    this.drawOverlays(view);
  }

  drawOverlays(view) {
    const gl = this.gl;
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
    gl.depthMask(false);
    gl.bindVertexArray(this.quad.array);
    for (const { place, tint } of view.marks) {
      this.use("mark", { camera: view.camera, place, tint });
      gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
    }
    gl.bindVertexArray(this.lines.array);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.lines.buffer);
    for (const { points, shift, tint, hidden } of view.lines) {
      gl.bufferData(gl.ARRAY_BUFFER, points, gl.DYNAMIC_DRAW);
      if (!hidden) gl.disable(gl.DEPTH_TEST);
      this.use("line", { camera: view.camera, shift, tint });
      gl.drawArrays(gl.TRIANGLES, 0, points.length / 3);
      gl.enable(gl.DEPTH_TEST);
    }
    gl.depthMask(true);
    gl.disable(gl.BLEND);
  }
}
