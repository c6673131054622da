/* cuDNN through its backend descriptors: a graph of operations -> engines by the heuristics ->
 * execution plans. Only engines whose kernels come compiled with the library are taken: then no
 * start of a program compiles anything, and every graph of this back end has some. */
#include "vendor.h"

#include <cudnn.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

enum { MAX_CANDIDATES = 8, MAX_CONFIGS = 64, MAX_DESCRIPTORS = 48 };
static const int64_t most_workspace = (int64_t)256 << 20;

#define DNN_FUNCTIONS(X)                                                                           \
  X(cudnnCreate)                                                                                   \
  X(cudnnDestroy)                                                                                  \
  X(cudnnSetStream)                                                                                \
  X(cudnnGetVersion)                                                                               \
  X(cudnnGetErrorString)                                                                           \
  X(cudnnGetLastErrorString)                                                                       \
  X(cudnnBackendCreateDescriptor)                                                                  \
  X(cudnnBackendDestroyDescriptor)                                                                 \
  X(cudnnBackendFinalize)                                                                          \
  X(cudnnBackendSetAttribute)                                                                      \
  X(cudnnBackendGetAttribute)                                                                      \
  X(cudnnBackendExecute)

struct cuda_dnn {
#define DECLARE(name) __typeof__(name) *name;
  DNN_FUNCTIONS(DECLARE)
#undef DECLARE
  cudnnHandle_t handle;                /* NULL where the device only plans */
  cudnnBackendDescriptor_t properties; /* of the card that is planned for, else NULL */
  char version[32];
};

typedef cudnnBackendDescriptor_t descriptor;

struct cuda_dnn_plan {
  cuda_dnn *dnn;
  int n_descriptors; /* the graph: destroyed after the plans */
  descriptor descriptors[MAX_DESCRIPTORS];
  int named, n, chosen; /* configurations of the heuristics; candidates; the one that runs */
  descriptor candidate[MAX_CANDIDATES];
  int64_t engine[MAX_CANDIDATES];
  size_t workspace; /* of the largest candidate */
  bool bias;
  char name[MAX_CANDIDATES][32];
  char key[200];
};

/* ---- the library ---- */

void *cuda_find_library(const char *name) {
  static const char *const folders[] = {"", "/usr/local/cuda/lib64/"};
  for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
    char path[256];
    snprintf(path, sizeof path, "%s%s", folders[i], name);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library) return library;
  }
  return NULL;
}

static bool load(cuda_dnn *dnn, void *library) {
#define LOAD(function)                                                                             \
  {                                                                                                \
    void *symbol = dlsym(library, #function);                                                      \
    if (!symbol) return false;                                                                     \
    memcpy(&dnn->function, &symbol, sizeof symbol);                                                \
  }
  DNN_FUNCTIONS(LOAD)
#undef LOAD
  return true;
}

static wml_result check(wml_device *device, const cuda_dnn *dnn, cudnnStatus_t status,
                        const char *call) {
  if (status == CUDNN_STATUS_SUCCESS) return WML_OK;
  char message[400] = "";
  dnn->cudnnGetLastErrorString(message, sizeof message);
  device->host.error("cuDNN: %s: %s (%d) %s", call, dnn->cudnnGetErrorString(status), (int)status,
                     message);
  return WML_DEVICE_FAILED;
}

static wml_result make_properties(wml_device *device, cuda_dnn *dnn, const char *description) {
  cudnnStatus_t s =
      dnn->cudnnBackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &dnn->properties);
  if (s == CUDNN_STATUS_SUCCESS)
    s = dnn->cudnnBackendSetAttribute(dnn->properties, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
                                      CUDNN_TYPE_CHAR, (int64_t)strlen(description), description);
  if (s == CUDNN_STATUS_SUCCESS) s = dnn->cudnnBackendFinalize(dnn->properties);
  return check(device, dnn, s, "device properties");
}

wml_result cuda_dnn_open(wml_device *device, const char *description, cuda_dnn **out) {
  static const char name[] = "libcudnn.so.9";
  *out = NULL;
  void *library = cuda_find_library(name); /* never closed: its own threads and tables stay */
  if (!library) return WML_OK;
  cuda_dnn *dnn = cuda_take(device, 1, sizeof *dnn);
  if (!dnn) return WML_OUT_OF_MEMORY;
  if (!load(dnn, library)) {
    device->host.release(dnn);
    return WML_OK;
  }
  size_t v = dnn->cudnnGetVersion();
  snprintf(dnn->version, sizeof dnn->version, "cuDNN %zu.%zu.%zu", v / 10000, v / 100 % 100,
           v % 100);
  wml_result result = description
                          ? make_properties(device, dnn, description)
                          : check(device, dnn, dnn->cudnnCreate(&dnn->handle), "cudnnCreate");
  if (result == WML_OK)
    *out = dnn;
  else
    cuda_dnn_close(device, dnn);
  return result;
}

void cuda_dnn_close(wml_device *device, cuda_dnn *dnn) {
  if (!dnn) return;
  if (dnn->properties) dnn->cudnnBackendDestroyDescriptor(dnn->properties);
  if (dnn->handle) dnn->cudnnDestroy(dnn->handle);
  device->host.release(dnn);
}

const char *cuda_dnn_version(const cuda_dnn *dnn) {
  return dnn ? dnn->version : "no cuDNN";
}

/* ---- descriptors; the first failure of a graph stays in `status` ---- */

typedef struct maker {
  cuda_dnn *dnn;
  cuda_dnn_plan *plan;
  cudnnStatus_t status;
  cudnnDataType_t type;
} maker;

static descriptor make(maker *m, cudnnBackendDescriptorType_t type) {
  descriptor d = NULL;
  if (m->status != CUDNN_STATUS_SUCCESS) return NULL;
  if (m->plan->n_descriptors == MAX_DESCRIPTORS) {
    m->status = CUDNN_STATUS_ALLOC_FAILED;
    return NULL;
  }
  m->status = m->dnn->cudnnBackendCreateDescriptor(type, &d);
  if (m->status == CUDNN_STATUS_SUCCESS) m->plan->descriptors[m->plan->n_descriptors++] = d;
  return d;
}

static void set(maker *m, descriptor d, cudnnBackendAttributeName_t name,
                cudnnBackendAttributeType_t type, int64_t count, const void *values) {
  if (m->status == CUDNN_STATUS_SUCCESS)
    m->status = m->dnn->cudnnBackendSetAttribute(d, name, type, count, values);
}

static void set_descriptor(maker *m, descriptor d, cudnnBackendAttributeName_t name, descriptor v) {
  set(m, d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &v);
}

static void finalize(maker *m, descriptor d) {
  if (m->status == CUDNN_STATUS_SUCCESS) m->status = m->dnn->cudnnBackendFinalize(d);
}

/* dims in cuDNN's order [n, c, h, w] over channels-last bytes. */
static descriptor tensor(maker *m, char id, const int64_t dims[4], bool virtual) {
  int64_t strides[4] = {dims[1] * dims[2] * dims[3], 1, dims[1] * dims[3], dims[1]}, uid = id,
          alignment = 16;
  cudnnDataType_t type = virtual ? CUDNN_DATA_FLOAT : m->type;
  descriptor d = make(m, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  set(m, d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
  set(m, d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dims);
  set(m, d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides);
  set(m, d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid);
  set(m, d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
  if (virtual) set(m, d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &virtual);
  finalize(m, d);
  return d;
}

static descriptor window_of(maker *m, const wml_window *w) {
  int64_t two = 2, pre[2], post[2], stride[2], dilation[2];
  cudnnDataType_t compute = CUDNN_DATA_FLOAT;
  cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  for (int i = 0; i < 2; i++) {
    pre[i] = w->pad_before[i], post[i] = w->pad_after[i];
    stride[i] = w->stride[i], dilation[i] = w->dilation[i];
  }
  descriptor d = make(m, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  set(m, d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &two);
  set(m, d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
  set(m, d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
  set(m, d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, pre);
  set(m, d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, post);
  set(m, d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, stride);
  set(m, d, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, dilation);
  finalize(m, d);
  return d;
}

/* The attributes of the three passes differ in their names only. */
static const struct {
  cudnnBackendDescriptorType_t type;
  cudnnBackendAttributeName_t window, x, kernel, y, alpha, beta;
} passes[] = {
    [CUDA_CONV_FORWARD] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
    [CUDA_CONV_DATA] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
    [CUDA_CONV_WEIGHTS] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                           CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
};

static descriptor convolution(maker *m, cuda_conv_pass pass, descriptor window, descriptor x,
                              descriptor kernel, descriptor y) {
  float one = 1.0f, zero = 0.0f;
  descriptor d = make(m, passes[pass].type);
  set_descriptor(m, d, passes[pass].window, window);
  set_descriptor(m, d, passes[pass].x, x);
  set_descriptor(m, d, passes[pass].kernel, kernel);
  set_descriptor(m, d, passes[pass].y, y);
  set(m, d, passes[pass].alpha, CUDNN_TYPE_FLOAT, 1, &one);
  set(m, d, passes[pass].beta, CUDNN_TYPE_FLOAT, 1, &zero);
  finalize(m, d);
  return d;
}

/* y = x + b, or y = relu(x) where b is NULL. */
static descriptor pointwise(maker *m, descriptor x, descriptor b, descriptor y) {
  cudnnPointwiseMode_t mode = b ? CUDNN_POINTWISE_ADD : CUDNN_POINTWISE_RELU_FWD;
  cudnnDataType_t compute = CUDNN_DATA_FLOAT;
  descriptor how = make(m, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  set(m, how, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
  set(m, how, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &compute);
  finalize(m, how);
  descriptor d = make(m, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  set_descriptor(m, d, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how);
  set_descriptor(m, d, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
  if (b) set_descriptor(m, d, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
  set_descriptor(m, d, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
  finalize(m, d);
  return d;
}

/* convolution -> [+ bias] -> [relu]; what lies between is virtual. */
static descriptor graph_of(maker *m, const cuda_conv *c) {
  const int64_t xd[4] = {c->x[0], c->x[3], c->x[1], c->x[2]},
                kd[4] = {c->kernel[3], c->kernel[2], c->kernel[0], c->kernel[1]},
                yd[4] = {c->y[0], c->y[3], c->y[1], c->y[2]}, bd[4] = {1, c->y[3], 1, 1};
  descriptor ops[3], x = tensor(m, 'x', xd, false), kernel = tensor(m, 'w', kd, false);
  int n = 0, parts = 1 + (c->bias ? 1 : 0) + (c->relu ? 1 : 0);
  descriptor y = tensor(m, parts == 1 ? 'y' : '1', yd, parts > 1),
             window = window_of(m, &c->window);
  ops[n++] = convolution(m, c->pass, window, x, kernel, y);
  if (c->bias) {
    descriptor b = tensor(m, 'b', bd, false),
               sum = tensor(m, n + 1 == parts ? 'y' : '2', yd, n + 1 < parts);
    ops[n++] = pointwise(m, y, b, sum);
    y = sum;
  }
  if (c->relu) {
    descriptor out = tensor(m, 'y', yd, false);
    ops[n++] = pointwise(m, y, NULL, out);
  }
  descriptor graph = make(m, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  set(m, graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, n, ops);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations" /* still how a handle is said */
  if (m->dnn->handle)
    set(m, graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &m->dnn->handle);
#pragma GCC diagnostic pop
  finalize(m, graph);
  return graph;
}

/* ---- engines ---- */

static bool has_note(const maker *m, descriptor engine, cudnnBackendAttributeName_t name,
                     cudnnBackendAttributeType_t type, int note) {
  int notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT + CUDNN_BEHAVIOR_NOTE_TYPE_COUNT] = {0};
  int64_t count = 0;
  if (m->dnn->cudnnBackendGetAttribute(engine, name, type, CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &count,
                                       notes) != CUDNN_STATUS_SUCCESS)
    return false;
  for (int64_t i = 0; i < count; i++)
    if (notes[i] == note) return true;
  return false;
}

/* Fills *id when the configuration's engine may be taken. */
static bool is_wanted(const maker *m, const cuda_conv *c, descriptor config, int64_t *id) {
  descriptor engine = NULL;
  int64_t count = 0;
  if (m->dnn->cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine) !=
      CUDNN_STATUS_SUCCESS)
    return false;
  bool wanted = m->dnn->cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE,
                                                 CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count,
                                                 &engine) == CUDNN_STATUS_SUCCESS &&
                count == 1;
#define NUMERICAL(note)                                                                            \
  has_note(m, engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,                 \
           CUDNN_NUMERICAL_NOTE_##note)
  wanted = wanted &&
           !has_note(m, engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE,
                     CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION) &&
           !NUMERICAL(DOWN_CONVERT_INPUTS) && !(c->deterministic && NUMERICAL(NONDETERMINISTIC)) &&
           !(c->strict && NUMERICAL(TENSOR_CORE));
#undef NUMERICAL
  *id = -1;
  if (wanted)
    m->dnn->cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1,
                                     &count, id);
  m->dnn->cudnnBackendDestroyDescriptor(engine);
  return wanted;
}

static void add_candidate(maker *m, descriptor config, int64_t engine) {
  cuda_dnn_plan *p = m->plan;
  const cuda_dnn *dnn = m->dnn;
  descriptor plan = NULL;
  int64_t count = 0, workspace = 0;
  if (dnn->cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &plan) !=
      CUDNN_STATUS_SUCCESS)
    return;
  cudnnStatus_t s = dnn->cudnnBackendSetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG,
                                                  CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &config);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  if (s == CUDNN_STATUS_SUCCESS && dnn->handle)
    s = dnn->cudnnBackendSetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1,
                                      &dnn->handle);
#pragma GCC diagnostic pop
  if (s == CUDNN_STATUS_SUCCESS && dnn->properties)
    s = dnn->cudnnBackendSetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP,
                                      CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &dnn->properties);
  if (s == CUDNN_STATUS_SUCCESS) s = dnn->cudnnBackendFinalize(plan);
  if (s == CUDNN_STATUS_SUCCESS)
    s = dnn->cudnnBackendGetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                      CUDNN_TYPE_INT64, 1, &count, &workspace);
  /* One that wants a great deal must not make the plan's memory larger while there are others. */
  if (s != CUDNN_STATUS_SUCCESS || (workspace > most_workspace && p->n > 0)) {
    dnn->cudnnBackendDestroyDescriptor(plan);
    return;
  }
  snprintf(p->name[p->n], sizeof p->name[p->n], "cudnn:engine %lld", (long long)engine);
  p->engine[p->n] = engine;
  p->candidate[p->n++] = plan;
  if ((size_t)workspace > p->workspace) p->workspace = (size_t)workspace;
}

static void ask_heuristics(maker *m, const cuda_conv *c, descriptor graph,
                           cudnnBackendHeurMode_t mode, int most) {
  const cuda_dnn *dnn = m->dnn;
  descriptor heuristics = NULL, config[MAX_CONFIGS] = {NULL};
  int64_t count = 0;
  if (dnn->cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &heuristics) !=
      CUDNN_STATUS_SUCCESS)
    return;
  cudnnStatus_t s = dnn->cudnnBackendSetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH,
                                                  CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &graph);
  if (s == CUDNN_STATUS_SUCCESS)
    s = dnn->cudnnBackendSetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE,
                                      1, &mode);
  if (s == CUDNN_STATUS_SUCCESS && dnn->properties)
    s = dnn->cudnnBackendSetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP,
                                      CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &dnn->properties);
  if (s == CUDNN_STATUS_SUCCESS) s = dnn->cudnnBackendFinalize(heuristics);
  int made = 0;
  while (s == CUDNN_STATUS_SUCCESS && made < MAX_CONFIGS &&
         dnn->cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &config[made]) ==
             CUDNN_STATUS_SUCCESS)
    made++;
  if (s == CUDNN_STATUS_SUCCESS)
    s = dnn->cudnnBackendGetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                      CUDNN_TYPE_BACKEND_DESCRIPTOR, made, &count, config);
  if (s != CUDNN_STATUS_SUCCESS) count = 0;
  m->plan->named += (int)count;
  for (int64_t i = 0; i < count && m->plan->n < most; i++) {
    int64_t engine;
    if (is_wanted(m, c, config[i], &engine)) add_candidate(m, config[i], engine);
  }
  for (int i = 0; i < made; i++) dnn->cudnnBackendDestroyDescriptor(config[i]);
  dnn->cudnnBackendDestroyDescriptor(heuristics);
}

static void write_key(const cuda_conv *c, char *key, size_t size) {
  const wml_window *w = &c->window;
  snprintf(
      key, size,
      "conv %d type %d x %lld,%lld,%lld,%lld k %lld,%lld,%lld,%lld s %d,%d d %d,%d p %d,%d,%d,%d "
      "g %d b%d r%d t%d",
      (int)c->pass, (int)c->type, (long long)c->x[0], (long long)c->x[1], (long long)c->x[2],
      (long long)c->x[3], (long long)c->kernel[0], (long long)c->kernel[1], (long long)c->kernel[2],
      (long long)c->kernel[3], w->stride[0], w->stride[1], w->dilation[0], w->dilation[1],
      w->pad_before[0], w->pad_before[1], w->pad_after[0], w->pad_after[1], w->groups, c->bias,
      c->relu, c->strict);
}

wml_result cuda_dnn_plan_conv(wml_device *device, const cuda_conv *c, cuda_dnn_plan **out,
                              const char **why) {
  if (!device->dnn) {
    *why = "cuDNN is not installed";
    return WML_UNSUPPORTED;
  }
  cuda_dnn_plan *p = cuda_take(device, 1, sizeof *p);
  if (!p) return WML_OUT_OF_MEMORY;
  p->dnn = device->dnn;
  p->bias = c->bias;
  write_key(c, p->key, sizeof p->key);
  pthread_mutex_lock(&device->mutex);
  maker m = {device->dnn, p, CUDNN_STATUS_SUCCESS,
             c->type == CUDA_BF16_T ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT};
  descriptor graph = graph_of(&m, c);
  /* Without a GPU one plan is proof enough; finalising many costs seconds. */
  int most = device->planning || c->deterministic ? 1 : MAX_CANDIDATES;
  if (m.status == CUDNN_STATUS_SUCCESS) {
    ask_heuristics(&m, c, graph, CUDNN_HEUR_MODE_A, most);
    if (p->n == 0) ask_heuristics(&m, c, graph, CUDNN_HEUR_MODE_FALLBACK, most);
  }
  pthread_mutex_unlock(&device->mutex);
  if (p->n > 0) {
    *out = p;
    return WML_OK;
  }
  *why = m.status != CUDNN_STATUS_SUCCESS ? "cuDNN takes no such graph"
         : p->named                       ? "cuDNN has no compiled engine for it"
                                          : "cuDNN's heuristics name no engine";
  cuda_dnn_release(device, p);
  return WML_UNSUPPORTED;
}

void cuda_dnn_release(wml_device *device, void *plan) {
  cuda_dnn_plan *p = plan;
  if (!p) return;
  for (int i = 0; i < p->n; i++) p->dnn->cudnnBackendDestroyDescriptor(p->candidate[i]);
  for (int i = p->n_descriptors - 1; i >= 0; i--)
    p->dnn->cudnnBackendDestroyDescriptor(p->descriptors[i]);
  device->host.release(p);
}

/* ---- the plan ---- */

size_t cuda_dnn_workspace(const cuda_dnn_plan *p) {
  return p->workspace;
}

const char *cuda_dnn_name(const cuda_dnn_plan *p) {
  return p->name[p->chosen];
}

int cuda_dnn_named(const cuda_dnn_plan *p) {
  return p->named;
}

int cuda_dnn_count(const void *plan) {
  return ((const cuda_dnn_plan *)plan)->n;
}

const char *cuda_dnn_select(void *plan, int candidate) {
  cuda_dnn_plan *p = plan;
  p->chosen = candidate;
  return p->name[candidate];
}

const char *cuda_dnn_key(const void *plan) {
  return ((const cuda_dnn_plan *)plan)->key;
}

wml_result cuda_dnn_run(wml_device *device, const cuda_dnn_plan *p, cudaStream_t stream, void *x,
                        void *kernel, void *y, void *bias, void *workspace) {
  const cuda_dnn *dnn = p->dnn;
  int64_t ids[4] = {'x', 'w', 'y', 'b'};
  void *pointers[4] = {x, kernel, y, bias};
  int n = p->bias ? 4 : 3;
  descriptor pack = NULL;
  pthread_mutex_lock(&device->mutex);
  cudnnStatus_t s = dnn->cudnnSetStream(dnn->handle, stream);
  if (s == CUDNN_STATUS_SUCCESS)
    s = dnn->cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack);
  if (s == CUDNN_STATUS_SUCCESS)
    s = dnn->cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, n,
                                      ids);
  if (s == CUDNN_STATUS_SUCCESS)
    s = dnn->cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS,
                                      CUDNN_TYPE_VOID_PTR, n, pointers);
  if (s == CUDNN_STATUS_SUCCESS)
    s = dnn->cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR,
                                      1, &workspace);
  if (s == CUDNN_STATUS_SUCCESS) s = dnn->cudnnBackendFinalize(pack);
  if (s == CUDNN_STATUS_SUCCESS)
    s = dnn->cudnnBackendExecute(dnn->handle, p->candidate[p->chosen], pack);
  wml_result result = check(device, dnn, s, "cudnnBackendExecute");
  if (pack) dnn->cudnnBackendDestroyDescriptor(pack);
  pthread_mutex_unlock(&device->mutex);
  return result;
}
