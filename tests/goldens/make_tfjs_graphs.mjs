// Makes the goldens of graphs for tests/goldens_test.c with TensorFlow.js, as make_tfjs.mjs makes those of chains:
//   node make_tfjs_graphs.mjs OUTPUT_FOLDER
// Each file: a webml description, initial weights, a batch by the names of inputs and outputs, the predictions, the
// gradients of the first step, and loss and weights after several steps of sgd with momentum. Layers are TensorFlow.js's
// own; what it lacks (Subtract, ReLU with options, the penalty of ActivityRegularization) is written here.
import { createRequire } from 'module';
import fs from 'fs';
import path from 'path';
const require = createRequire(path.join(process.cwd(), 'x.js'));
const tf = require('@tensorflow/tfjs');

const batch = 6, steps = 5, momentum = 0.9;
let state = 4321;
const random = () => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) / 4294967296;
const array = (n, low, high) => Array.from({ length: n }, () => Math.fround(low + (high - low) * random()));
const product = (shape) => shape.reduce((a, b) => a * b, 1);

// ---- layers ----

class Own extends tf.layers.Layer {
  constructor(name, f) { super({ name }); this.f = f; }
  call(inputs) { return this.f(Array.isArray(inputs) && inputs.length === 1 ? inputs[0] : inputs); }
  computeOutputShape(shape) { return Array.isArray(shape[0]) ? shape[0] : shape; }
  static get className() { return 'Own'; }
}

// By steps of 0 and 1, which have a gradient (of 0) there.
const choose = (condition, a, b) => tf.add(tf.mul(condition, a), tf.mul(tf.sub(1, condition), b));
const relu = (o) => (x) => {
  const threshold = o.threshold ?? 0, above = tf.sub(x, threshold);
  const y = choose(tf.step(above), x, tf.mul(above, o.negative_slope ?? 0));
  return o.max_value === undefined ? y : choose(tf.step(tf.sub(o.max_value, x)), y, tf.scalar(o.max_value));
};

const layerOf = (type, o, name) => {
  const l = tf.layers;
  const map = {
    Conv2D: () => l.conv2d({ name, filters: o.filters, kernelSize: o.kernel_size, padding: o.padding ?? 'valid', activation: o.activation, useBias: o.use_bias ?? true }),
    Dense: () => l.dense({ name, units: o.units, activation: o.activation }),
    BatchNormalization: () => l.batchNormalization({ name }),
    Flatten: () => l.flatten({ name }),
    Reshape: () => l.reshape({ name, targetShape: o.target_shape }),
    Permute: () => l.permute({ name, dims: o.dims }),
    RepeatVector: () => l.repeatVector({ name, n: o.n }),
    Embedding: () => l.embedding({ name, inputDim: o.input_dim, outputDim: o.output_dim }),
    Activation: () => l.activation({ name, activation: o.activation }),
    ReLU: () => new Own(name, relu(o)),
    LeakyReLU: () => l.leakyReLU({ name, alpha: o.negative_slope }),
    ELU: () => l.elu({ name }),
    PReLU: () => l.prelu({ name, sharedAxes: o.shared_axes }),
    Softmax: () => l.softmax({ name, axis: -1 }),
    ActivityRegularization: () => new Own(name, (x) => tf.add(x, 0)),
    Subtract: () => new Own(name, ([a, b]) => tf.sub(a, b)),
    Add: () => l.add({ name }),
    Multiply: () => l.multiply({ name }),
    Average: () => l.average({ name }),
    Maximum: () => l.maximum({ name }),
    Minimum: () => l.minimum({ name }),
    Concatenate: () => l.concatenate({ name, axis: o.axis ?? -1 }),
    Dot: () => l.dot({ name, axes: o.axes, normalize: o.normalize ?? false }),
  };
  return map[type]();
};

// The description as a model whose outputs are its own, then what is penalized.
const build = (m) => {
  const values = {}, layers = {}, penalties = [], inputs = [];
  for (const [name, spec] of Object.entries(m.inputs ?? { input: m.size })) {
    values[name] = tf.input({ name, shape: spec.size ?? spec, dtype: spec.dtype ?? 'float32' });
    inputs.push(values[name]);
  }
  let last = Object.keys(values)[0];
  m.layers.forEach((entry, i) => {
    const o = entry.layer ?? {}, name = entry.name ?? o.name ?? 'layer_' + i, owner = entry.use ?? name;
    const read = entry.inputs ?? last, x = Array.isArray(read) ? read.map((k) => values[k]) : values[read];
    layers[owner] ??= layerOf(entry.type, o, name);
    values[name] = layers[owner].apply(x);
    if (entry.type === 'ActivityRegularization') penalties.push({ name, l1: o.l1 ?? 0, l2: o.l2 ?? 0 });
    last = name;
  });
  const ends = Object.entries(m.outputs ?? { output: last }).map(([name, o]) => ({ name, layer: o.layer ?? o, loss: o.loss ?? m.loss, weight: o.loss_weight ?? 1 }));
  const outputs = [...ends.map((e) => values[e.layer]), ...penalties.map((p) => values[p.name])];
  return { net: tf.model({ inputs, outputs }), layers: Object.values(layers), ends, penalties };
};

// ---- training ----

const lossOf = (b, x, y) => {
  let out = b.net.apply(x, { training: true });
  out = Array.isArray(out) ? out : [out];
  let total = tf.scalar(0);
  b.ends.forEach((e, i) => {
    const p = out[i], t = y[e.name];
    const loss = e.loss === 'mse' ? tf.mean(tf.square(tf.sub(p, t))) : tf.neg(tf.mean(tf.sum(tf.mul(t, tf.log(p)), -1)));
    total = tf.add(total, tf.mul(loss, e.weight));
  });
  b.penalties.forEach((p, i) => {
    const v = out[b.ends.length + i];
    total = tf.add(total, tf.div(tf.add(tf.mul(p.l1, tf.sum(tf.abs(v))), tf.mul(p.l2, tf.sum(tf.square(v)))), batch));
  });
  return total.asScalar();
};

const golden = (m) => {
  const b = build(m), weights = b.layers.flatMap((l) => l.weights);
  for (const l of b.layers) {
    l.setWeights(l.getWeights().map((w, k) => {
      const positive = l.getClassName() === 'BatchNormalization' && k !== 1 && k !== 2;
      return tf.tensor(array(w.size, positive ? 0.5 : -0.5, positive ? 1.5 : 0.5), w.shape);
    }));
  }
  const read = () => weights.map((w) => Array.from(w.read().dataSync()));
  const x = {}, y = {}, start = read();
  const tensors = Object.entries(m.inputs ?? { input: m.size }).map(([name, spec]) => {
    const size = spec.size ?? spec, n = batch * product(size), whole = spec.dtype === 'int32';
    x[name] = whole ? array(n, 0, 6.99).map(Math.floor) : array(n, -1, 1);
    return tf.tensor(x[name], [batch, ...size], whole ? 'int32' : 'float32');
  });
  let out = b.net.predict(tensors);
  out = Array.isArray(out) ? out : [out];
  const prediction = {}, targets = {};
  b.ends.forEach((e, i) => {
    prediction[e.name] = Array.from(out[i].dataSync());
    const k = out[i].shape.at(-1), hot = array(out[i].size / k, 0, k - 0.001).map(Math.floor);
    targets[e.name] = tf.oneHot(hot, k).reshape(out[i].shape).toFloat();
    y[e.name] = Array.from(targets[e.name].dataSync());
  });
  const trained = weights.filter((w) => w.trainable).map((w) => w.val), velocity = trained.map((w) => tf.zerosLike(w));
  const history = [];
  let gradients = null;
  for (let s = 0; s < steps; s++) {
    const { value, grads } = tf.variableGrads(() => lossOf(b, tensors, targets), trained);
    history.push(value.dataSync()[0]);
    gradients ??= weights.map((w) => (w.trainable ? Array.from(grads[w.val.name].dataSync()) : []));
    trained.forEach((w, i) => {
      velocity[i] = tf.sub(tf.mul(velocity[i], momentum), tf.mul(grads[w.name], m.optimizer.learning_rate));
      w.assign(tf.add(w, velocity[i]));
    });
  }
  return { made_by: 'tfjs ' + tf.version.tfjs, batch, model: m, start, x, y, prediction, gradients, history, after: read() };
};

// ---- cases ----

const layer = (type, layer = {}, inputs) => (inputs ? { type, layer, inputs } : { type, layer });
const use = (name, inputs, alias) => ({ use: name, inputs, name: alias });
const sgd = { optimizer: { name: 'sgd', learning_rate: 0.05, momentum } };
const same = { filters: 4, kernel_size: 3, padding: 'same', use_bias: false };
const cases = {
  graph_residual: { size: [6, 5, 3], ...sgd, loss: 'categorical_crossentropy', layers: [
    layer('Conv2D', same), layer('BatchNormalization'), layer('ReLU', { name: 'stem' }),
    layer('Conv2D', same), layer('BatchNormalization'), layer('ReLU'),
    layer('Conv2D', same), layer('BatchNormalization', { name: 'branch' }),
    layer('Add', {}, ['stem', 'branch']), layer('ReLU'), layer('Flatten'), layer('Dense', { units: 3 }),
    layer('Activation', { activation: 'softmax' })] },
  graph_ends: { inputs: { picture: [5, 4, 2], row: [3] }, ...sgd, layers: [
    layer('Conv2D', { filters: 3, kernel_size: 3, activation: 'tanh' }, 'picture'), layer('Flatten', { name: 'flat' }),
    layer('Dense', { units: 4, activation: 'tanh', name: 'row_2' }, 'row'),
    layer('Concatenate', { name: 'both' }, ['flat', 'row_2', 'row']),
    layer('Dense', { units: 3, activation: 'softmax', name: 'class' }, 'both'),
    layer('Dense', { units: 2, name: 'number' }, 'both')],
  outputs: { what: { layer: 'class', loss: 'categorical_crossentropy' }, where: { layer: 'number', loss: 'mse', loss_weight: 0.4 } } },
  graph_shared: { inputs: { a: [5], b: [5] }, ...sgd, loss: 'mse', layers: [
    layer('Dense', { units: 4, activation: 'tanh', name: 'tower' }, 'a'), use('tower', 'b', 'tower_b'),
    layer('Subtract', {}, ['tower', 'tower_b']), layer('PReLU', { name: 'bend' }),
    layer('Dense', { units: 4, name: 'square' }), use('square', 'square', 'again'), use('bend', 'again', 'bent'),
    layer('Dense', { units: 2, name: 'end' })], outputs: { y: 'end' } },
  graph_merges: { size: [4, 3, 2], ...sgd, loss: 'mse', layers: [
    layer('Conv2D', { filters: 3, kernel_size: 1, name: 'a' }, 'input'),
    layer('Conv2D', { filters: 3, kernel_size: 1, name: 'b' }, 'input'),
    layer('Flatten', { name: 'flat' }, 'input'), layer('Dense', { units: 3, name: 'c' }),
    layer('Conv2D', { filters: 1, kernel_size: 1, name: 'd' }, 'input'),
    layer('Maximum', { name: 'most' }, ['a', 'b']), layer('PReLU', { name: 'bent' }, 'a'), layer('Minimum', { name: 'least' }, ['bent', 'b', 'a']),
    layer('Multiply', { name: 'product' }, ['c', 'most', 'a', 'd']), layer('Average', { name: 'mean' }, ['product', 'c', 'least']),
    layer('PReLU', { shared_axes: [1, 2] }), layer('LeakyReLU', { negative_slope: 0.3 }), layer('ELU'),
    layer('Reshape', { target_shape: [12, 3], name: 'e' }), layer('Reshape', { target_shape: [12, 3], name: 'f' }, 'b'),
    layer('Dot', { axes: [1, 1], name: 'matrix' }, ['e', 'f']), layer('Dot', { axes: [1, 1], name: 'row' }, ['matrix', 'c']),
    layer('Dense', { units: 2, name: 'end' })] },
  graph_shapes: { inputs: { ids: { size: [4], dtype: 'int32' }, row: [6] }, ...sgd, loss: 'mse', layers: [
    layer('Embedding', { input_dim: 7, output_dim: 3 }, 'ids'), layer('ActivityRegularization', { l1: 0.02, l2: 0.03 }),
    layer('Permute', { dims: [2, 1], name: 'turned' }), layer('Dense', { units: 4, activation: 'tanh' }, 'row'),
    layer('RepeatVector', { n: 3, name: 'rows' }), layer('Concatenate', { axis: 1 }, ['turned', 'rows']),
    layer('Reshape', { target_shape: [2, 3, 4] }), layer('ReLU', { max_value: 0.4, negative_slope: 0.2, threshold: 0.1 }),
    layer('Softmax'), layer('Flatten'), layer('Dense', { units: 2, name: 'end' })], outputs: { y: 'end' } },
  graph_cosine: { inputs: { a: [3, 4], b: [3, 5] }, ...sgd, loss: 'mse', layers: [
    layer('Dense', { units: 4, name: 'a_2' }, 'a'), layer('Dense', { units: 2, name: 'b_2' }, 'b'),
    layer('Dot', { axes: [1, 1], normalize: true }, ['a_2', 'b_2']), layer('Flatten'),
    layer('Dense', { units: 2, name: 'end' })], outputs: { y: 'end' } },
};

for (const [name, m] of Object.entries(cases))
  fs.writeFileSync(path.join(process.argv[2], name + '.json'), JSON.stringify(golden(m)) + '\n');
