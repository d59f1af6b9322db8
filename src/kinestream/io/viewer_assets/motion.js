// What is played: the payload's arrays, poses between frames, and where each joint is.

function fromBase64(text) {
  const letters = atob(text), bytes = new Uint8Array(letters.length);
  for (let k = 0; k < letters.length; k++) bytes[k] = letters.charCodeAt(k);
  return bytes;
}

async function unpack(text) {
  const stream = new Blob([fromBase64(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

const ARRAYS = { i16: Int16Array, u16: Uint16Array, u8: Uint8Array, i32: Int32Array, f32: Float32Array };

function section(buffer, place) {
  return new ARRAYS[place.type](buffer, place.offset, place.count);
}

// Quaternions are wxyz, as everywhere in kinestream.
function multiply(out, o, a, i, b, j) {
  const aw = a[i], ax = a[i + 1], ay = a[i + 2], az = a[i + 3], bw = b[j], bx = b[j + 1], by = b[j + 2], bz = b[j + 3];
  out[o] = aw * bw - ax * bx - ay * by - az * bz;
  out[o + 1] = aw * bx + ax * bw + ay * bz - az * by;
  out[o + 2] = aw * by - ax * bz + ay * bw + az * bx;
  out[o + 3] = aw * bz + ax * by - ay * bx + az * bw;
}

function rotate(out, o, q, i, x, y, z) {
  const w = q[i], a = q[i + 1], b = q[i + 2], c = q[i + 3];
  const tx = 2 * (b * z - c * y), ty = 2 * (c * x - a * z), tz = 2 * (a * y - b * x);
  out[o] += x + w * tx + b * tz - c * ty;
  out[o + 1] += y + w * ty + c * tx - a * tz;
  out[o + 2] += z + w * tz + a * ty - b * tx;
}

class Person {
  constructor(about, buffer, bodies) {
    Object.assign(this, about);
    this.body = bodies[about.body];
    this.joints = this.parents.length;
    this.rotations = section(buffer, about.rotations);
    this.roots = section(buffer, about.roots);
    this.centres = section(buffer, about.centres); // where the body is: a top joint may stay behind
    this.translations = about.translations ? section(buffer, about.translations) : null;
    this.contacts = about.contacts ? section(buffer, about.contacts) : null;
    this.offsets = section(buffer, about.offsets);
    this.world = new Float32Array(4 * this.joints);
    this.places = new Float32Array(3 * this.joints);
    this.local = new Float32Array(4);
    this.matrices = new Float32Array(12 * this.joints);
  }

  // The pose at a frame number that may lie between two: rotations turn along the shorter way, positions are linear.
  pose(frame) {
    const last = this.frames - 1, low = Math.min(Math.floor(frame), last), high = Math.min(low + 1, last), t = Math.min(frame, last) - low;
    const J = this.joints, q = this.rotations, local = this.local;
    for (let j = 0; j < J; j++) {
      const a = 4 * (low * J + j), b = 4 * (high * J + j), o = 4 * j, parent = this.parents[j];
      const sign = q[a] * q[b] + q[a + 1] * q[b + 1] + q[a + 2] * q[b + 2] + q[a + 3] * q[b + 3] < 0 ? -1 : 1;
      let length = 0;
      for (let k = 0; k < 4; k++) {
        local[k] = q[a + k] * (1 - t) + sign * q[b + k] * t;
        length += local[k] * local[k];
      }
      length = Math.sqrt(length) || 1;
      for (let k = 0; k < 4; k++) local[k] /= length;
      if (parent < 0) {
        this.world.set(local, o);
        for (let k = 0; k < 3; k++) this.places[k] = this.roots[3 * low + k] * (1 - t) + this.roots[3 * high + k] * t;
      } else {
        multiply(this.world, o, this.world, 4 * parent, local, 0);
        const from = this.translations, v = [0, 1, 2].map((k) =>
          from ? from[3 * (low * J + j) + k] * (1 - t) + from[3 * (high * J + j) + k] * t : this.offsets[3 * j + k]);
        for (let k = 0; k < 3; k++) this.places[3 * j + k] = this.places[3 * parent + k];
        rotate(this.places, 3 * j, this.world, 4 * parent, v[0], v[1], v[2]);
      }
    }
    this.fillMatrices();
  }

  // Three rows of four numbers a joint: what takes the body's points in its bind pose to where they are now.
  fillMatrices() {
    const m = this.matrices, inverse = this.body.inverseBind, q = this.world;
    for (let j = 0; j < this.joints; j++) {
      const w = q[4 * j], x = q[4 * j + 1], y = q[4 * j + 2], z = q[4 * j + 3], o = 12 * j;
      const turn = [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y), 2 * (x * y + w * z), 1 - 2 * (x * x + z * z),
        2 * (y * z - w * x), 2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)];
      for (let row = 0; row < 3; row++) {
        for (let column = 0; column < 4; column++) {
          let sum = column === 3 ? this.places[3 * j + row] : 0;
          for (let k = 0; k < 3; k++) sum += turn[3 * row + k] * inverse[o + 4 * k + column];
          m[o + 4 * row + column] = sum;
        }
      }
    }
  }

  // Bit k of a frame's contacts: left ankle, left toe, right ankle, right toe.
  standing(frame) {
    return this.contacts ? this.contacts[Math.min(Math.round(frame), this.frames - 1)] : 0;
  }
}

function makeBody(about, buffer) {
  const body = { scale: about.scale, parts: about.parts, inverseBind: section(buffer, about.inverseBind) };
  body.positions = section(buffer, about.positions);
  body.joints = section(buffer, about.joints);
  body.weights = section(buffer, about.weights);
  const steps = section(buffer, about.faces), faces = new Uint32Array(steps.length);
  for (let k = 0, at = 0; k < steps.length; k++) faces[k] = at += steps[k];
  body.faces = faces;
  body.normals = normalsOf(body.positions, faces);
  return body;
}

function normalsOf(p, faces) {
  const n = new Float32Array(p.length);
  for (let f = 0; f < faces.length; f += 3) {
    const a = 3 * faces[f], b = 3 * faces[f + 1], c = 3 * faces[f + 2];
    const ux = p[b] - p[a], uy = p[b + 1] - p[a + 1], uz = p[b + 2] - p[a + 2];
    const vx = p[c] - p[a], vy = p[c + 1] - p[a + 1], vz = p[c + 2] - p[a + 2];
    const x = uy * vz - uz * vy, y = uz * vx - ux * vz, z = ux * vy - uy * vx;
    for (const k of [a, b, c]) { n[k] += x; n[k + 1] += y; n[k + 2] += z; }
  }
  for (let k = 0; k < n.length; k += 3) {
    const length = Math.hypot(n[k], n[k + 1], n[k + 2]) || 1;
    n[k] /= length; n[k + 1] /= length; n[k + 2] /= length;
  }
  return n;
}
