/* Compiling a graph: fusion, the choice of implementations, lifetimes and memory. */
#include "plan.h"
#include "cpu.h"

#include "../common/frame.h"

#include <string.h>

static const cpu_implementation *const implementations[WML_N_OPS] = {
    [WML_OP_GATHER] = cpu_gather,
    [WML_OP_CONV2D] = cpu_conv2d,
    [WML_OP_CONV2D_BWD_DATA] = cpu_conv2d_bwd_data,
    [WML_OP_CONV2D_BWD_WEIGHTS] = cpu_conv2d_bwd_weights,
    [WML_OP_DENSE] = cpu_dense,
    [WML_OP_DENSE_BWD_DATA] = cpu_dense_bwd_data,
    [WML_OP_DENSE_BWD_WEIGHTS] = cpu_dense_bwd_weights,
    [WML_OP_MAXPOOL] = cpu_maxpool,
    [WML_OP_MAXPOOL_BWD] = cpu_maxpool_bwd,
    [WML_OP_AVGPOOL] = cpu_avgpool,
    [WML_OP_AVGPOOL_BWD] = cpu_avgpool_bwd,
    [WML_OP_RESIZE] = cpu_resize,
    [WML_OP_RESIZE_BWD] = cpu_resize_bwd,
    [WML_OP_NORM] = cpu_norm,
    [WML_OP_NORM_BWD] = cpu_norm_bwd,
    [WML_OP_ACTIVATION] = cpu_activation,
    [WML_OP_ACTIVATION_BWD] = cpu_activation_bwd,
    [WML_OP_BATCHNORM_TRAIN] = cpu_batchnorm_train,
    [WML_OP_BATCHNORM_INFER] = cpu_batchnorm_infer,
    [WML_OP_BATCHNORM_BWD] = cpu_batchnorm_bwd,
    [WML_OP_BATCHNORM_BWD_INFER] = cpu_batchnorm_bwd,
    [WML_OP_DROPOUT] = cpu_dropout,
    [WML_OP_NOISE] = cpu_noise,
    [WML_OP_RESHAPE] = cpu_reshape,
    [WML_OP_TRANSPOSE] = cpu_transpose,
    [WML_OP_CONCAT] = cpu_concat,
    [WML_OP_CROP] = cpu_crop,
    [WML_OP_PAD] = cpu_pad,
    [WML_OP_AFFINE] = cpu_affine,
    [WML_OP_BINARY] = cpu_binary,
    [WML_OP_BINARY_BWD] = cpu_binary_bwd,
    [WML_OP_REDUCE] = cpu_reduce,
    [WML_OP_REDUCE_BWD] = cpu_reduce_bwd,
    [WML_OP_MATMUL] = cpu_matmul,
    [WML_OP_EMBEDDING] = cpu_embedding,
    [WML_OP_EMBEDDING_BWD] = cpu_embedding_bwd,
    [WML_OP_PENALTY] = cpu_activity,
    [WML_OP_LOSS] = cpu_loss,
    [WML_OP_METRIC] = cpu_metric,
    [WML_OP_UPDATE] = cpu_update,
};

int cpu_add_temporary(wml_plan *plan, size_t bytes, int node) {
  return frame_add_temporary(plan, bytes, node);
}

static cpu_entry *find_or_add(wml_store *store, const wml_tensor *t) {
  for (cpu_entry *e = store->entries; e; e = e->next)
    if (strcmp(e->name, t->name) == 0) return e;
  cpu_entry *e = cpu_entry_create(store->device, t);
  if (!e) return NULL;
  e->next = store->entries;
  store->entries = e;
  return e;
}

static wml_result adopt_tensors(wml_plan *plan, const wml_graph *g) {
  plan->capacity = g->n_tensors + 16;
  plan->tensors = wml_take(&plan->device->host, (size_t)plan->capacity, sizeof *plan->tensors);
  if (!plan->tensors) return WML_OUT_OF_MEMORY;
  plan->n_tensors = g->n_tensors;
  for (int i = 0; i < g->n_tensors; i++) {
    cpu_tensor *t = &plan->tensors[i];
    *t = (cpu_tensor){.info = g->tensors[i], .alias = -1, .first = -1, .last = -1};
    t->info.name = "";
    if (t->info.role == WML_ROLE_VALUE)
      t->bytes = (size_t)wml_elements(&t->info) * wml_dtype_size(t->info.dtype);
    if (wml_role_is_persistent(t->info.role) &&
        !(t->entry = find_or_add(plan->store, &g->tensors[i])))
      return WML_OUT_OF_MEMORY;
  }
  for (int i = 0; i < g->n_outputs; i++) plan->tensors[g->outputs[i]].pinned = true;
  return WML_OK;
}

int cpu_add_like(wml_plan *plan, int tensor, int64_t rows, bool narrow) {
  wml_tensor info = *cpu_info(plan, tensor);
  info.dim[0] = rows;
  int added = frame_add_temporary(plan, (size_t)wml_elements(&info) * (narrow ? 2 : 4), -1);
  if (added < 0) return -1;
  plan->tensors[added].info = info;
  plan->tensors[added].narrow = narrow;
  return added;
}

int cpu_add_scratch(wml_plan *plan, size_t bytes, int node) {
  size_t apart = wml_round_up(bytes, WML_PACKING_ALIGNMENT);
  int added = cpu_add_temporary(plan, apart * (size_t)plan->device->threads, node);
  if (added >= 0) plan->tensors[added].apart = apart;
  return added;
}

wml_result cpu_insert_node(wml_plan *plan, int at) {
  size_t n = (size_t)plan->n_nodes;
  cpu_node *nodes = wml_take(&plan->device->host, n + 1, sizeof *nodes);
  if (!nodes) return WML_OUT_OF_MEMORY;
  memcpy(nodes, plan->nodes, (size_t)at * sizeof *nodes);
  memcpy(nodes + at + 1, plan->nodes + at, (n - (size_t)at) * sizeof *nodes);
  plan->device->host.release(plan->nodes);
  plan->nodes = nodes;
  plan->n_nodes++;
  return WML_OK;
}

/* ---- types ---- */

static void settle_types(wml_plan *plan) {
  if (plan->graph.precision != WML_MIXED_BFLOAT16) return;
  frame_settle_narrow(plan);
  for (int i = 0; i < plan->n_tensors; i++)
    if (plan->tensors[i].narrow) plan->tensors[i].bytes /= 2;
}

/* ---- fusion ---- */

bool cpu_is_plain_relu(const wml_activation *a) {
  return frame_is_plain_relu(a);
}

bool cpu_halves(const wml_window *w) {
  return frame_halves(w);
}

int cpu_consumers(const wml_plan *plan, int tensor) {
  return frame_consumers(plan, tensor);
}

static bool same_shape(const wml_plan *plan, int a, int b) {
  const wml_tensor *s = cpu_info(plan, a), *t = cpu_info(plan, b);
  bool same = s->rank == t->rank;
  for (int i = 0; same && i < s->rank; i++) same = s->dim[i] == t->dim[i];
  return same;
}

/* Whether the operation can apply the activation to its result. */
static bool takes_activation(const wml_plan *plan, const wml_op *op, const wml_activation *act) {
  if (op->kind == WML_OP_CONV2D || op->kind == WML_OP_DENSE) return cpu_post_activation(act);
  return op->kind == WML_OP_BINARY && op->u.binary == WML_BINARY_ADD &&
         same_shape(plan, op->in[0], op->out[0]) && same_shape(plan, op->in[1], op->out[0]) &&
         !WML_ACTIVATION_IS_ROW(act->kind);
}

/* An activation joins the convolution, dense layer or sum before it where nothing else reads what
 * lies between: backward passes of such activations work from the output. */
static bool joins_layer(const wml_plan *plan, const cpu_node *before, const cpu_node *node) {
  return node->op.kind == WML_OP_ACTIVATION && before->post.kind == WML_LINEAR &&
         before->op.out[0] == node->op.in[0] && cpu_consumers(plan, node->op.in[0]) == 1 &&
         takes_activation(plan, &before->op, &node->op.u.activation);
}

static void fuse(wml_plan *plan) {
  int kept = 0;
  for (int k = 0; k < plan->n_nodes; k++) {
    cpu_node *node = &plan->nodes[k], *before = kept ? &plan->nodes[kept - 1] : NULL;
    int pooled = before ? frame_pooled(plan, &before->op, &node->op) : -1;
    if (before && joins_layer(plan, before, node)) {
      before->post = node->op.u.activation;
      before->op.out[0] = node->op.out[0];
    } else if (pooled >= 0 && plan->tensors[pooled].info.dim[3] <= VEC_POOL_CHANNELS) {
      before->pooled = pooled;
      before->op.out[0] = node->op.out[0];
    } else {
      plan->nodes[kept++] = *node;
      continue;
    }
    for (int i = 0; i < WML_MAX_OPERANDS; i++) node->op.in[i] = -1; /* reads nothing any more */
  }
  plan->n_nodes = kept;
}

/* The gradient of a first convolution's weights joins the pooling behind it (conv2d_pooled.c). */
static void fuse_pooled(wml_plan *plan) {
  int kept = 0;
  for (int k = 0; k < plan->n_nodes; k++) {
    const cpu_node *pool = &plan->nodes[k];
    cpu_node *weights = k + 1 < plan->n_nodes ? &plan->nodes[k + 1] : NULL;
    bool joins = pool->op.kind == WML_OP_MAXPOOL_BWD && weights &&
                 weights->op.kind == WML_OP_CONV2D_BWD_WEIGHTS &&
                 weights->op.in[1] == pool->op.out[0] &&
                 frame_consumers(plan, pool->op.out[0]) == 1 && frame_halves(&pool->op.u.window) &&
                 cpu_conv_can_pool(plan, weights);
    if (joins) {
      weights->op.in[1] = pool->op.in[0];
      weights->op.in[2] = pool->op.in[1];
      weights->pooled = pool->pooled;
      weights->pools = true;
    } else
      plan->nodes[kept++] = *pool;
  }
  plan->n_nodes = kept;
}

/* A pooling joins the convolution before it where nothing else reads what lies between: that is
 * made for a few pictures at a time, and never leaves the cache (conv2d.c). */
static void fuse_pools(wml_plan *plan) {
  int kept = 0;
  for (int k = 0; k < plan->n_nodes; k++) {
    cpu_node *node = &plan->nodes[k], *before = kept ? &plan->nodes[kept - 1] : NULL;
    bool joins = before && before->op.kind == WML_OP_CONV2D && !before->pools &&
                 node->op.kind == WML_OP_MAXPOOL && node->op.in[0] == before->op.out[0] &&
                 cpu_consumers(plan, node->op.in[0]) == 1;
    if (joins) {
      before->pools = true;
      before->pool = node->op.u.window;
      before->between = before->op.out[0];
      before->op.out[0] = node->op.out[0];
      before->op.out[1] = node->op.out[1];
      node->op.in[0] = -1; /* reads nothing any more */
    } else
      plan->nodes[kept++] = *node;
  }
  plan->n_nodes = kept;
}

/* ---- implementations ---- */

static wml_result choose_for(wml_plan *plan, cpu_node *node) {
  const cpu_implementation *list = implementations[node->op.kind];
  bool narrow = cpu_has_narrow(plan, node);
  for (; list && list->plan; list++) {
    if (narrow && !list->narrow) continue;
    int n_tensors = plan->n_tensors;
    wml_result result = list->plan(plan, node);
    if (result != WML_UNSUPPORTED) return result;
    cpu_reset_node(plan, node);
    plan->n_tensors = n_tensors;
  }
  return WML_UNSUPPORTED;
}

/* What has no implementation in bfloat16 is computed in float32; its node may move up then, behind
 * conversions that are the next to be chosen for. */
static wml_result choose(wml_plan *plan, int *at) {
  cpu_node *node = &plan->nodes[*at];
  wml_result result = choose_for(plan, node);
  if (result != WML_UNSUPPORTED) return result;
  if (cpu_has_narrow(plan, node)) {
    result = cpu_widen_node(plan, *at);
    --*at;
    return result;
  }
  plan->device->host.error("layer %s: %s", node->op.layer ? node->op.layer : "?",
                           node->why ? node->why : "no implementation");
  return WML_UNSUPPORTED;
}

/* Slots and gradients lie as their parameter does; what no layer has laid out is row-major. */
static void settle_layout(wml_plan *plan, int tensor) {
  if (tensor < 0) return;
  const cpu_tensor *t = &plan->tensors[tensor];
  if (!t->entry || t->entry->fixed || t->info.like < 0) return;
  const cpu_entry *param = plan->tensors[t->info.like].entry;
  t->entry->plain = param->plain;
  t->entry->own = param->own;
  t->entry->fixed = param->fixed;
}

static void settle_layouts(wml_plan *plan) {
  for (int i = 0; i < plan->n_tensors; i++) settle_layout(plan, i);
}

/* Of what the operation reads and writes: the forward operation of its parameter came before. */
static void settle_operands(wml_plan *plan, const wml_op *op) {
  if (op->kind == WML_OP_UPDATE) settle_layouts(plan); /* its operands are the graph's items */
  for (int i = 0; i < WML_MAX_OPERANDS; i++) settle_layout(plan, op->in[i]);
  for (int i = 0; i < 3; i++) settle_layout(plan, op->out[i]);
}

/* ---- memory ---- */

static bool in_place(const wml_plan *plan, const wml_op *op) {
  if (!cpu_same_type(plan, op->in[0], op->out[0])) return false;
  bool activation = op->kind == WML_OP_ACTIVATION || op->kind == WML_OP_ACTIVATION_BWD;
  if (activation) return op->u.activation.kind != WML_GLU;
  if (op->kind == WML_OP_BINARY)
    return cpu_info(plan, op->out[0])->role == WML_ROLE_VALUE &&
           same_shape(plan, op->in[0], op->out[0]);
  return op->kind == WML_OP_DROPOUT || op->kind == WML_OP_BATCHNORM_INFER ||
         op->kind == WML_OP_AFFINE || op->kind == WML_OP_NOISE;
}

static const frame_rules rules = {.alignment = WML_PACKING_ALIGNMENT, .in_place = in_place};

/* ---- the plan as a whole ---- */

/* Multiply-adds of a step: of a prediction that is not worth another thread, and of a step that is
 * not worth a team (some 50 us; up to there two threads take as long as one). */
static const double inline_limit = 1 << 17, team_limit = 1e6;

static double work_of(const wml_plan *plan, const cpu_node *n) {
  const wml_tensor *t = n->op.out[0] >= 0 ? cpu_info(plan, n->op.out[0]) : NULL;
  double rows = (double)plan->graph.batch;
  switch (n->op.kind) {
  case WML_OP_DENSE:
  case WML_OP_DENSE_BWD_DATA: return rows * (double)wml_elements(cpu_info(plan, n->op.in[1]));
  case WML_OP_DENSE_BWD_WEIGHTS: return rows * (double)wml_elements(t);
  case WML_OP_CONV2D:
  case WML_OP_CONV2D_BWD_DATA: /* each weight once for each pixel of the result, at least */
    return rows * (double)(t->dim[1] * t->dim[2]) *
           (double)wml_elements(cpu_info(plan, n->op.in[1]));
  case WML_OP_CONV2D_BWD_WEIGHTS: {
    const int64_t *y = cpu_info(plan, n->op.in[1])->dim;
    return rows * (double)(y[1] * y[2]) * (double)wml_elements(t);
  }
  case WML_OP_MATMUL: {
    const wml_tensor *a = cpu_info(plan, n->op.in[0]);
    return (double)wml_elements(t) * (double)a->dim[a->rank - (n->op.u.matmul.transpose_a ? 2 : 1)];
  }
  case WML_OP_EMBEDDING_BWD: /* clears the table, too */
    return (double)wml_elements(t) + (double)wml_elements(cpu_info(plan, n->op.in[1]));
  case WML_OP_BINARY_BWD:
  case WML_OP_REDUCE: return (double)wml_elements(cpu_info(plan, n->op.in[0]));
  default: return t ? (double)wml_elements(t) : 0.0;
  }
}

static void settle_threads(wml_plan *plan) {
  double work = 0.0;
  bool inline_ = true;
  for (int k = 0; k < plan->n_nodes; k++) {
    inline_ = inline_ && plan->nodes[k].inline_;
    work += work_of(plan, &plan->nodes[k]);
  }
  bool finest = plan->device->finest_pieces;
  plan->inline_ = inline_ && work <= inline_limit && !finest;
  bool alone = work <= team_limit && !finest;
  plan->threads = alone ? 1 : plan->device->threads;
}

static wml_result build(wml_plan *plan, const wml_graph *g) {
  plan->nodes = wml_take(&plan->device->host, (size_t)g->n_ops, sizeof *plan->nodes);
  plan->graph.tensors = NULL;
  plan->graph.ops = NULL;
  plan->graph.outputs = NULL;
  wml_update_item *items =
      wml_take(&plan->device->host, (size_t)g->update.n_items, sizeof *g->update.items);
  plan->graph.update.items = items;
  if (!plan->nodes || !items) return WML_OUT_OF_MEMORY;
  for (int i = 0; i < g->update.n_items; i++) items[i] = g->update.items[i];
  plan->n_nodes = g->n_ops;
  bool trains = false;
  for (int k = 0; k < g->n_ops; k++) {
    plan->nodes[k] = (cpu_node){.op = g->ops[k], .pooled = -1, .temp = {-1, -1}};
    plan->nodes[k].post.kind = WML_LINEAR;
    plan->nodes[k].op.layer = NULL; /* the graph may go */
    trains |= g->ops[k].kind == WML_OP_UPDATE;
  }
  wml_result result = adopt_tensors(plan, g);
  if (result == WML_OK && !trains) result = cpu_fold_plan(plan);
  if (result == WML_OK) {
    fuse(plan);
    fuse_pooled(plan);
    fuse_pools(plan);
    settle_types(plan);
    if (!trains && plan->int8) result = cpu_settle_int8(plan);
  }
  for (int k = 0; k < plan->n_nodes && result == WML_OK; k++) {
    settle_operands(plan, &plan->nodes[k].op);
    result = choose(plan, &k);
  }
  if (result != WML_OK) return result;
  settle_layouts(plan);
  settle_threads(plan);
  return frame_place(plan, &rules);
}

static wml_result create(wml_store *store, const wml_graph *g, bool int8, wml_plan **out) {
  wml_plan *plan = wml_take(&store->device->host, 1, sizeof *plan);
  if (!plan) return WML_OUT_OF_MEMORY;
  plan->store = store;
  plan->device = store->device;
  plan->graph = *g;
  plan->int8 = int8;
  wml_result result = build(plan, g);
  if (result == WML_OK)
    *out = plan;
  else
    cpu_plan_destroy(plan);
  return result;
}

wml_result cpu_plan_create(wml_store *store, const wml_graph *g, wml_plan **out) {
  if (g->precision == WML_MIXED_BFLOAT16 && !cpu_can_narrow()) {
    store->device->host.error("mixed_bfloat16 needs a processor that computes in bfloat16 "
                              "(AVX512_BF16 or AMX), or a GPU; use float32 here");
    return WML_UNSUPPORTED;
  }
  wml_result result = create(store, g, cpu_can_int8(), out);
  /* Where oneDNN has no int8 code for an operation, none is used. */
  return result == WML_UNSUPPORTED && cpu_can_int8() ? create(store, g, false, out) : result;
}

static void release_entries(wml_plan *plan) {
  const wml_host *host = &plan->device->host;
  for (cpu_entry *e = plan->own_entries, *next; e; e = next) {
    next = e->next;
    host->release(e->data);
    cpu_entry_destroy(plan->device, e);
  }
  for (cpu_fold *f = plan->folds, *next; f; f = next) {
    next = f->next;
    host->release(f);
  }
}

void cpu_plan_destroy(wml_plan *plan) {
  if (!plan) return;
  const wml_host *host = &plan->device->host;
  for (int k = 0; k < plan->n_nodes; k++) cpu_reset_node(plan, &plan->nodes[k]);
  release_entries(plan);
  host->release((void *)(uintptr_t)plan->graph.update.items);
  host->release(plan->nodes);
  host->release(plan->tensors);
  host->release(plan->arena);
  host->release(plan);
}

/* Whether the tensor's bytes are those of one before it: the operations of a layer may read one
 * copy of its weights. */
static bool is_counted(const wml_plan *plan, int tensor) {
  for (int i = plan->graph.n_tensors; i < tensor; i++)
    if (plan->tensors[i].entry == plan->tensors[tensor].entry) return true;
  return false;
}

static size_t entry_bytes(const cpu_entry *e) {
  return wml_round_up(e->fixed ? dnnl_memory_desc_get_size(&e->own)
                               : (size_t)e->elements * sizeof(float),
                      WML_PACKING_ALIGNMENT);
}

void cpu_plan_memory(const wml_plan *plan, wml_memory *memory) {
  *memory = (wml_memory){.scratch = plan->arena_bytes};
  /* Of a store's weights, which the first plan that wants them counts; and folded weights, which
   * are the plan's own. */
  size_t copies = 0;
  for (int i = 0; i < plan->n_tensors; i++) {
    const cpu_tensor *t = &plan->tensors[i];
    if (!t->entry || is_counted(plan, i)) continue;
    if (t->entry->source)
      copies += t->entry->maker == plan ? entry_bytes(t->entry) : 0;
    else if (i >= plan->graph.n_tensors)
      copies += entry_bytes(t->entry);
    else if (t->info.role == WML_ROLE_PARAM || t->info.role == WML_ROLE_STATE)
      memory->params += entry_bytes(t->entry);
    else
      memory->state += entry_bytes(t->entry);
  }
  memory->saved = frame_saved(plan);
  memory->scratch -= memory->saved < memory->scratch ? memory->saved : memory->scratch;
  memory->scratch += copies;
}

/* Weights that the plan has folded are its own; the others have one block of the store, in the
 * order given. */
static wml_result allocate_entries(wml_plan *plan, const int *tensors, int n) {
  size_t total = 0;
  for (int i = 0; i < n; i++) {
    cpu_entry *e = plan->tensors[tensors[i]].entry;
    if (e->data) continue;
    if (tensors[i] < plan->graph.n_tensors)
      total += entry_bytes(e);
    else if (!(e->data = wml_take(&plan->device->host, 1, entry_bytes(e))))
      return WML_OUT_OF_MEMORY;
  }
  if (total == 0) return WML_OK;
  const wml_host *host = &plan->device->host;
  cpu_block *block = wml_take(&plan->device->host, 1, sizeof *block);
  float *data = block ? wml_take(&plan->device->host, 1, total) : NULL;
  if (!data) {
    host->release(block);
    return WML_OUT_OF_MEMORY;
  }
  *block = (cpu_block){plan->store->blocks, data};
  plan->store->blocks = block;
  for (int i = 0; i < n; i++) {
    cpu_entry *e = plan->tensors[tensors[i]].entry;
    if (e->data) continue;
    e->data = data;
    data += entry_bytes(e) / sizeof *data;
  }
  return WML_OK;
}

wml_result cpu_plan_prepare(wml_plan *plan) {
  if (plan->prepared) return WML_OK;
  wml_result result = frame_persistent(plan, allocate_entries);
  if (result != WML_OK) return result;
  plan->arena = wml_take(&plan->device->host, 1, plan->arena_bytes);
  if (!plan->arena) return WML_OUT_OF_MEMORY;
  for (int i = 0; i < plan->n_tensors; i++) {
    cpu_tensor *t = &plan->tensors[i];
    if (t->entry)
      t->data = t->entry->data;
    else if (t->info.role == WML_ROLE_VALUE)
      t->data = plan->arena + plan->tensors[frame_root(plan, i)].offset;
  }
  result = cpu_bind_primitives(plan);
  if (result == WML_OK) result = cpu_prepare_copies(plan);
  plan->prepared = result == WML_OK;
  return result;
}

static void one_step(wml_plan *plan, cpu_step *step) {
  cpu_refresh_copies(plan);
  step->loss = cpu_penalty(plan);
  for (int k = 0; k < plan->n_nodes; k++) {
    plan->nodes[k].run(step, &plan->nodes[k]);
    if (!plan->inline_) cpu_executor_admit_brief(plan->device->executor);
  }
}

wml_result cpu_plan_run(wml_plan *plan, wml_run *run) {
  run->not_finite = -1;
  atomic_store(&plan->broken, false);
  int limit = cpu_team_limit(plan->threads);
  for (int64_t i = 0; i < run->n_steps; i++) {
    cpu_step step = {.plan = plan, .run = run, .index = i, .finite = true};
    one_step(plan, &step);
    if (atomic_load(&plan->broken)) break;
    if (!step.finite) {
      run->not_finite = run->step + i + 1;
      break;
    }
    if (run->results) {
      run->results[WML_RESULT_LOSS] += step.loss * (double)plan->graph.batch;
      run->results[WML_RESULT_COUNT] += (double)plan->graph.batch;
    }
  }
  cpu_team_limit(limit);
  if (!atomic_load(&plan->broken)) return WML_OK;
  plan->device->host.error("oneDNN could not run an operation (it may be out of memory)");
  return WML_DEVICE_FAILED;
}
