/* Device, store and plan of the reference back end. */
#include "ref.h"

#include <math.h>
#include <string.h>

struct wml_device {
  wml_host host;
};

/* A persistent tensor; its buffer is shared by every plan that names it. */
typedef struct ref_entry {
  struct ref_entry *next;
  char *name;
  int64_t n;
  float *data;
} ref_entry;

struct wml_store {
  wml_device *device;
  ref_entry *entries;
};

struct wml_plan {
  wml_store *store;
  wml_graph graph; /* own copy of the arrays; names are not read after compile */
  ref_entry **entry;
  void **data;
};

static const ref_function functions[WML_N_OPS] = {
    [WML_OP_GATHER] = ref_gather,
    [WML_OP_CONV2D] = ref_conv2d,
    [WML_OP_CONV2D_BWD_DATA] = ref_conv2d_bwd_data,
    [WML_OP_CONV2D_BWD_WEIGHTS] = ref_conv2d_bwd_weights,
    [WML_OP_DENSE] = ref_dense,
    [WML_OP_DENSE_BWD_DATA] = ref_dense_bwd_data,
    [WML_OP_DENSE_BWD_WEIGHTS] = ref_dense_bwd_weights,
    [WML_OP_MAXPOOL] = ref_maxpool,
    [WML_OP_MAXPOOL_BWD] = ref_maxpool_bwd,
    [WML_OP_ACTIVATION] = ref_activation,
    [WML_OP_ACTIVATION_BWD] = ref_activation_bwd,
    [WML_OP_BATCHNORM_TRAIN] = ref_batchnorm_train,
    [WML_OP_BATCHNORM_INFER] = ref_batchnorm_infer,
    [WML_OP_BATCHNORM_BWD] = ref_batchnorm_bwd,
    [WML_OP_BATCHNORM_BWD_INFER] = ref_batchnorm_bwd_infer,
    [WML_OP_DROPOUT] = ref_dropout,
    [WML_OP_NOISE] = ref_noise,
    [WML_OP_RESHAPE] = ref_reshape,
    [WML_OP_TRANSPOSE] = ref_transpose,
    [WML_OP_CONCAT] = ref_concat,
    [WML_OP_CROP] = ref_crop,
    [WML_OP_PAD] = ref_pad,
    [WML_OP_AFFINE] = ref_affine,
    [WML_OP_BINARY] = ref_binary,
    [WML_OP_BINARY_BWD] = ref_binary_bwd,
    [WML_OP_REDUCE] = ref_reduce,
    [WML_OP_REDUCE_BWD] = ref_reduce_bwd,
    [WML_OP_MATMUL] = ref_matmul,
    [WML_OP_AVGPOOL] = ref_avgpool,
    [WML_OP_AVGPOOL_BWD] = ref_avgpool_bwd,
    [WML_OP_RESIZE] = ref_resize,
    [WML_OP_RESIZE_BWD] = ref_resize_bwd,
    [WML_OP_NORM] = ref_norm,
    [WML_OP_NORM_BWD] = ref_norm_bwd,
    [WML_OP_EMBEDDING] = ref_embedding,
    [WML_OP_EMBEDDING_BWD] = ref_embedding_bwd,
    [WML_OP_PENALTY] = ref_penalty,
    [WML_OP_LOSS] = ref_loss,
    [WML_OP_METRIC] = ref_metric,
    [WML_OP_UPDATE] = ref_update,
};

static void *take(const wml_host *host, size_t bytes) {
  void *p = host->alloc(bytes ? bytes : 1, 64);
  if (p)
    memset(p, 0, bytes);
  else
    host->error("out of memory: %zu bytes for the reference back end", bytes);
  return p;
}

static wml_result ref_enumerate(const wml_host *host, wml_device_info *list, int capacity,
                                int *count) {
  (void)host;
  *count = 1;
  /* It takes every precision: what it computes is exact in any case. */
  if (capacity > 0)
    list[0] =
        (wml_device_info){.name = "ref", .description = "reference back end", .bfloat16 = true};
  return WML_OK;
}

static wml_result ref_open(const wml_host *host, const wml_device_config *config,
                           wml_device **out) {
  (void)config;
  wml_device *device = take(host, sizeof *device);
  if (!device) return WML_OUT_OF_MEMORY;
  device->host = *host;
  *out = device;
  return WML_OK;
}

static void ref_close(wml_device *device) {
  if (device) device->host.release(device);
}

static const char *ref_identity(const wml_device *device) {
  (void)device;
  return "ref 1";
}

static wml_result ref_store_create(wml_device *device, wml_store **out) {
  wml_store *store = take(&device->host, sizeof *store);
  if (!store) return WML_OUT_OF_MEMORY;
  store->device = device;
  *out = store;
  return WML_OK;
}

static void ref_store_destroy(wml_store *store) {
  if (!store) return;
  const wml_host *host = &store->device->host;
  for (ref_entry *e = store->entries, *next; e; e = next) {
    next = e->next;
    host->release(e->data);
    host->release(e->name);
    host->release(e);
  }
  host->release(store);
}

static ref_entry *find_entry(wml_store *store, const char *name) {
  for (ref_entry *e = store->entries; e; e = e->next)
    if (strcmp(e->name, name) == 0) return e;
  return NULL;
}

static ref_entry *add_entry(wml_store *store, const wml_tensor *t) {
  ref_entry *e = find_entry(store, t->name);
  if (e) return e;
  const wml_host *host = &store->device->host;
  e = take(host, sizeof *e);
  char *name = e ? take(host, strlen(t->name) + 1) : NULL;
  if (!name) {
    host->release(e);
    return NULL;
  }
  memcpy(name, t->name, strlen(t->name) + 1);
  *e = (ref_entry){.next = store->entries, .name = name, .n = wml_elements(t)};
  store->entries = e;
  return e;
}

static ref_entry *usable_entry(wml_store *store, const char *name) {
  ref_entry *e = find_entry(store, name);
  if (e && e->data) return e;
  store->device->host.error("the store has no tensor named %s", name);
  return NULL;
}

static wml_result ref_put(wml_store *store, const char *name, const float *host) {
  ref_entry *e = usable_entry(store, name);
  if (!e) return WML_INVALID;
  memcpy(e->data, host, (size_t)e->n * sizeof *host);
  return WML_OK;
}

static wml_result ref_get(wml_store *store, const char *name, float *host) {
  ref_entry *e = usable_entry(store, name);
  if (!e) return WML_INVALID;
  memcpy(host, e->data, (size_t)e->n * sizeof *host);
  return WML_OK;
}

const float *ref_input(const ref_step *step, const wml_op *op) {
  const wml_tensor *t = &step->graph->tensors[op->in[0]];
  const float *x = ref_f32(step, op->in[0]);
  if (!(t->scale > 0.0f) || !step->graph->tensors[op->in[1]].scales) return x;
  int64_t n = wml_elements(t);
  float *rounded = ref_f32(step, op->in[0]) + n;
  double low = t->is_signed ? -128.0 : 0.0, high = t->is_signed ? 127.0 : 255.0;
  for (int64_t i = 0; i < n; i++) {
    double q = nearbyint((double)x[i] / (double)t->scale);
    rounded[i] = (float)((q < low ? low : q > high ? high : q) * (double)t->scale);
  }
  return rounded;
}

double *ref_sums(const ref_step *step, int tensor) {
  int64_t n = ref_elements(step, tensor);
  double *sum = (double *)(void *)(ref_f32(step, tensor) + (n + (n & 1)));
  for (int64_t i = 0; i < n; i++) sum[i] = 0.0;
  return sum;
}

void ref_store_sums(const ref_step *step, int tensor) {
  int64_t n = ref_elements(step, tensor);
  float *floats = ref_f32(step, tensor);
  const double *sum = (const double *)(const void *)(floats + (n + (n & 1)));
  for (int64_t i = 0; i < n; i++) floats[i] = (float)sum[i];
}

/* Floats plus the doubles of ref_sums(), or the rounded values of a quantized input. */
static size_t buffer_bytes(const wml_tensor *t) {
  return (size_t)(wml_elements(t) + 1) * 3 * sizeof(float);
}

static void ref_plan_destroy(wml_plan *plan) {
  if (!plan) return;
  const wml_host *host = &plan->store->device->host;
  for (int i = 0; plan->data && i < plan->graph.n_tensors; i++)
    if (!plan->entry[i]) host->release(plan->data[i]);
  host->release((void *)plan->graph.tensors);
  host->release((void *)plan->graph.ops);
  host->release((void *)plan->graph.update.items);
  host->release((void *)plan->graph.outputs);
  host->release(plan->entry);
  host->release(plan->data);
  host->release(plan);
}

static void *copy(const wml_host *host, const void *from, size_t bytes) {
  void *p = take(host, bytes);
  if (p && bytes) memcpy(p, from, bytes);
  return p;
}

static wml_result ref_compile(wml_store *store, const wml_graph *g, wml_plan **out) {
  const wml_host *host = &store->device->host;
  for (int k = 0; k < g->n_ops; k++)
    if (!functions[g->ops[k].kind]) {
      host->error("layer %s: no implementation", g->ops[k].layer ? g->ops[k].layer : "?");
      return WML_UNSUPPORTED;
    }
  wml_plan *plan = take(host, sizeof *plan);
  if (!plan) return WML_OUT_OF_MEMORY;
  size_t n = (size_t)g->n_tensors;
  plan->store = store;
  plan->graph = *g;
  plan->graph.tensors = copy(host, g->tensors, n * sizeof *g->tensors);
  plan->graph.ops = copy(host, g->ops, (size_t)g->n_ops * sizeof *g->ops);
  plan->graph.update.items =
      copy(host, g->update.items, (size_t)g->update.n_items * sizeof *g->update.items);
  plan->graph.outputs = copy(host, g->outputs, (size_t)g->n_outputs * sizeof *g->outputs);
  plan->entry = take(host, n * sizeof *plan->entry);
  plan->data = take(host, n * sizeof *plan->data);
  wml_result result = plan->graph.tensors && plan->graph.ops && plan->graph.update.items &&
                              plan->graph.outputs && plan->entry && plan->data
                          ? WML_OK
                          : WML_OUT_OF_MEMORY;
  for (size_t i = 0; result == WML_OK && i < n; i++)
    if (wml_role_is_persistent(g->tensors[i].role) &&
        !(plan->entry[i] = add_entry(store, &g->tensors[i])))
      result = WML_OUT_OF_MEMORY;
  if (result == WML_OK)
    *out = plan;
  else
    ref_plan_destroy(plan);
  return result;
}

static void ref_memory(const wml_plan *plan, wml_memory *memory) {
  *memory = (wml_memory){0};
  for (int i = 0; i < plan->graph.n_tensors; i++) {
    const wml_tensor *t = &plan->graph.tensors[i];
    size_t bytes = buffer_bytes(t);
    if (t->role == WML_ROLE_PARAM || t->role == WML_ROLE_STATE)
      memory->params += bytes;
    else if (t->role == WML_ROLE_SLOT || t->role == WML_ROLE_GRAD)
      memory->state += bytes;
    else if (t->role == WML_ROLE_VALUE)
      memory->saved += bytes;
  }
}

static wml_result ref_prepare(wml_plan *plan) {
  const wml_host *host = &plan->store->device->host;
  for (int i = 0; i < plan->graph.n_tensors; i++) {
    const wml_tensor *t = &plan->graph.tensors[i];
    ref_entry *e = plan->entry[i];
    if (t->role == WML_ROLE_FEED || plan->data[i]) continue;
    if (e && !e->data) e->data = take(host, buffer_bytes(t));
    plan->data[i] = e ? e->data : take(host, buffer_bytes(t));
    if (!plan->data[i]) return WML_OUT_OF_MEMORY;
  }
  return WML_OK;
}

static wml_result ref_run(wml_plan *plan, wml_run *run) {
  const wml_graph *g = &plan->graph;
  run->not_finite = -1;
  for (int64_t i = 0; i < run->n_steps; i++) {
    ref_step step = {.graph = g, .data = plan->data, .run = run, .index = i, .finite = true};
    step.loss = ref_regularisers(&step);
    for (int k = 0; k < g->n_ops; k++) functions[g->ops[k].kind](&step, &g->ops[k]);
    if (!step.finite) {
      run->not_finite = run->step + i + 1;
      return WML_OK;
    }
    if (run->results) {
      run->results[WML_RESULT_LOSS] += step.loss * (double)g->batch;
      run->results[WML_RESULT_COUNT] += (double)g->batch;
    }
  }
  return WML_OK;
}

static wml_result ref_read(wml_plan *plan, int tensor, float *host) {
  memcpy(host, plan->data[tensor],
         (size_t)wml_elements(&plan->graph.tensors[tensor]) * sizeof *host);
  return WML_OK;
}

static const char *ref_implementation(const wml_plan *plan, int op) {
  return op < plan->graph.n_ops ? "ref" : NULL;
}

const wml_backend wml_backend_ref = {
    .version = WML_BACKEND_VERSION,
    .name = "ref",
    .enumerate = ref_enumerate,
    .open = ref_open,
    .close = ref_close,
    .identity = ref_identity,
    .store_create = ref_store_create,
    .store_destroy = ref_store_destroy,
    .put = ref_put,
    .get = ref_get,
    .compile = ref_compile,
    .memory = ref_memory,
    .prepare = ref_prepare,
    .run = ref_run,
    .read = ref_read,
    .implementation = ref_implementation,
    .plan_destroy = ref_plan_destroy,
};
