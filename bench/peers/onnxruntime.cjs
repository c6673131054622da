// Rates of ONNX Runtime (npm's onnxruntime-node) on a model that webml exported. For every line on standard input it
// predicts for so many seconds, and prints rows a second.
//
// usage: node onnxruntime.cjs NPM_FOLDER MODEL.onnx THREADS SHAPE     SHAPE: JSON, the batch first; rank 4 is uint8
const [npm, model, threads, shape] = process.argv.slice(2);
const ort = require('module').createRequire(npm + '/x.js')('onnxruntime-node');
const dims = JSON.parse(shape);
const elements = dims.reduce((a, b) => a * b, 1);
const pictures = dims.length === 4;

function makeInput() {
  const data = pictures ? new Uint8Array(elements) : new Float32Array(elements);
  for (let i = 0; i < elements; i++) data[i] = pictures ? (i * 7919) % 256 : ((i * 7919) % 256) / 255;
  return new ort.Tensor(pictures ? 'uint8' : 'float32', data, dims);
}

(async () => {
  const options = { intraOpNumThreads: Number(threads), interOpNumThreads: 1, executionMode: 'sequential' };
  const session = await ort.InferenceSession.create(model, options);
  const feeds = { [session.inputNames[0]]: makeInput() };
  for (let i = 0; i < 3; i++) await session.run(feeds);
  for await (const line of require('readline').createInterface({ input: process.stdin })) {
    const begin = performance.now();
    const limit = Number(line) * 1e3;
    let rows = 0;
    for (; performance.now() - begin < limit; rows += dims[0]) await session.run(feeds);
    console.log((rows / (performance.now() - begin)) * 1e3);
  }
})();
