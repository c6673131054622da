// Makes the goldens of tests/goldens_test.c with TensorFlow.js, which nobody here wrote:
//   npm install --ignore-scripts @tensorflow/tfjs   (in any folder outside the tree)
//   node make_tfjs.mjs OUTPUT_FOLDER                (with NODE_PATH or from that folder)
// Each file: a webml description, initial weights, a batch, the prediction, and loss and weights
// after several optimizer steps.
import { createRequire } from 'module';
import fs from 'fs';
import path from 'path';
const require = createRequire(path.join(process.cwd(), 'x.js'));
const tf = require('@tensorflow/tfjs');

let state = 12345;
const random = () => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) / 4294967296;
const array = (n, low, high) => Array.from({ length: n }, () => Math.fround(low + (high - low) * random()));

const layerOf = (l) => {
  const o = l.layer ?? {};
  const map = {
    Conv2D: () => tf.layers.conv2d({ filters: o.filters, kernelSize: o.kernel_size, strides: o.strides ?? 1, padding: o.padding ?? 'valid', dilationRate: o.dilation_rate ?? 1, activation: o.activation, useBias: o.use_bias ?? true }),
    MaxPooling2D: () => tf.layers.maxPooling2d({ poolSize: o.pool_size ?? 2, strides: o.strides, padding: o.padding ?? 'valid' }),
    Flatten: () => tf.layers.flatten(),
    BatchNormalization: () => tf.layers.batchNormalization({ momentum: o.momentum ?? 0.99, epsilon: o.epsilon ?? 1e-3 }),
    Dense: () => tf.layers.dense({ units: o.units, activation: o.activation, useBias: o.use_bias ?? true, kernelRegularizer: o.kernel_regularizer ? tf.regularizers.l1l2(o.kernel_regularizer) : undefined }),
  };
  return map[l.type]();
};
const optimizers = {
  sgd: (o) => (o.momentum ? tf.train.momentum(o.learning_rate, o.momentum, o.nesterov ?? false) : tf.train.sgd(o.learning_rate)),
  adam: (o) => tf.train.adam(o.learning_rate, 0.9, 0.999, o.epsilon),
  adamax: (o) => tf.train.adamax(o.learning_rate, 0.9, 0.999, 1e-7),
  rmsprop: (o) => tf.train.rmsprop(o.learning_rate, o.rho ?? 0.9, o.momentum ?? 0, 1e-7, o.centered ?? false),
  adagrad: (o) => tf.train.adagrad(o.learning_rate, 0.1),
};
const losses = { mean_squared_error: 'meanSquaredError', categorical_crossentropy: 'categoricalCrossentropy', binary_crossentropy: 'binaryCrossentropy' };

const conv = (filters, kernel_size, extra) => ({ type: 'Conv2D', layer: { filters, kernel_size, ...extra } });
const dense = (units, activation, extra) => ({ type: 'Dense', layer: { units, activation, ...extra } });
const cases = {
  cnn_adam: { size: [10, 9, 3], layers: [conv(6, 3, { activation: 'relu' }), { type: 'MaxPooling2D', layer: {} }, conv(5, 2, { padding: 'same', activation: 'tanh' }), { type: 'Flatten', layer: {} }, dense(7, 'relu'), dense(4, 'softmax')], optimizer: { name: 'adam', learning_rate: 0.01, epsilon: 1e-12 }, loss: 'categorical_crossentropy' },
  same_strides: { size: [8, 11, 2], layers: [conv(4, 4, { padding: 'same', strides: 2, activation: 'elu' }), { type: 'MaxPooling2D', layer: { pool_size: 3, strides: 2, padding: 'same' } }, { type: 'Flatten', layer: {} }, dense(3, 'softmax')], optimizer: { name: 'sgd', learning_rate: 0.05, momentum: 0.9, nesterov: true }, loss: 'categorical_crossentropy' },
  dilated: { size: [9, 9, 3], layers: [conv(4, 3, { dilation_rate: 2, activation: 'sigmoid', trainable: false }), { type: 'Flatten', layer: {} }, dense(2, 'linear', { kernel_regularizer: { l1: 0.01, l2: 0.02 } })], optimizer: { name: 'sgd', learning_rate: 0.02 }, loss: 'mean_squared_error' },
  norm: { size: [6, 6, 3], layers: [conv(5, 3, { use_bias: false }), { type: 'BatchNormalization', layer: { momentum: 0.9, epsilon: 0.01 } }, { type: 'Flatten', layer: {} }, dense(8, 'relu'), { type: 'BatchNormalization', layer: {} }, dense(3, 'softmax')], optimizer: { name: 'sgd', learning_rate: 0.05 }, loss: 'categorical_crossentropy' },
  mlp_rmsprop: { size: [7], layers: [dense(9, 'selu'), dense(6, 'softplus'), dense(3, 'sigmoid')], optimizer: { name: 'rmsprop', learning_rate: 0.01, momentum: 0.5 }, loss: 'binary_crossentropy' },
  mlp_adagrad: { size: [7], layers: [dense(9, 'tanh'), dense(3, 'softsign')], optimizer: { name: 'adagrad', learning_rate: 0.05 }, loss: 'mean_squared_error' },
  mlp_adamax: { size: [7], layers: [dense(9, 'relu'), dense(3, 'softmax')], optimizer: { name: 'adamax', learning_rate: 0.01 }, loss: 'categorical_crossentropy' },
};

const batch = 6, steps = 5;
for (const [name, c] of Object.entries(cases)) {
  const model = tf.sequential();
  c.layers.forEach((l, i) => {
    const layer = layerOf(l);
    if (l.layer?.trainable === false) layer.trainable = false; // TF.js has no gradient of dilated kernels
    if (i === 0) layer.batchInputShape = [null, ...c.size];
    model.add(layer);
  });
  model.compile({ optimizer: optimizers[c.optimizer.name](c.optimizer), loss: losses[c.loss] });
  // tfjs lists weights per layer in the order kernel, bias, or gamma, beta, mean, variance.
  const read = () => model.layers.flatMap((l) => l.getWeights().map((w) => Array.from(w.dataSync())));
  const start = model.layers.flatMap((l) => {
    const values = l.getWeights().map((w, k) => tf.tensor(array(w.size, l.getClassName() === 'BatchNormalization' && k !== 1 && k !== 2 ? 0.5 : -0.5, l.getClassName() === 'BatchNormalization' && k !== 1 && k !== 2 ? 1.5 : 0.5), w.shape));
    l.setWeights(values);
    return values.map((v) => Array.from(v.dataSync()));
  });
  const features = c.size.reduce((a, b) => a * b), classes = c.layers.at(-1).layer.units;
  const x = array(batch * features, -1, 1), y = [];
  for (let i = 0; i < batch; i++) for (let k = 0, hot = Math.floor(random() * classes); k < classes; k++) y.push(k === hot ? 1 : 0);
  const tx = tf.tensor(x, [batch, ...c.size]), ty = tf.tensor(y, [batch, classes]);
  const prediction = Array.from(model.predict(tx).dataSync()), history = [];
  for (let i = 0; i < steps; i++) history.push(await model.trainOnBatch(tx, ty));
  const after = read();
  fs.writeFileSync(path.join(process.argv[2], name + '.json'), JSON.stringify({ made_by: 'tfjs ' + tf.version.tfjs, batch, model: { size: c.size, layers: c.layers, optimizer: c.optimizer, loss: c.loss }, start, x, y, prediction, history, after }) + '\n');
}
