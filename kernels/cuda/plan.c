/* Compiling a graph: types of values, fusion, the choice of implementations, memory. */
#include "cuda.h"
#include "vendor.h"

#include "../common/frame.h"

static const cuda_implementation *const implementations[WML_N_OPS] = {
    [WML_OP_GATHER] = cuda_gather,
    [WML_OP_CONV2D] = cuda_conv2d,
    [WML_OP_CONV2D_BWD_DATA] = cuda_conv2d_bwd_data,
    [WML_OP_CONV2D_BWD_WEIGHTS] = cuda_conv2d_bwd_weights,
    [WML_OP_DENSE] = cuda_dense,
    [WML_OP_DENSE_BWD_DATA] = cuda_dense_bwd_data,
    [WML_OP_DENSE_BWD_WEIGHTS] = cuda_dense_bwd_weights,
    [WML_OP_MAXPOOL] = cuda_maxpool,
    [WML_OP_MAXPOOL_BWD] = cuda_maxpool_bwd,
    [WML_OP_ACTIVATION] = cuda_activation,
    [WML_OP_ACTIVATION_BWD] = cuda_activation_bwd,
    [WML_OP_BATCHNORM_TRAIN] = cuda_batchnorm_train,
    [WML_OP_BATCHNORM_INFER] = cuda_batchnorm_infer,
    [WML_OP_BATCHNORM_BWD] = cuda_batchnorm_bwd,
    [WML_OP_BATCHNORM_BWD_INFER] = cuda_batchnorm_bwd,
    [WML_OP_DROPOUT] = cuda_dropout,
    [WML_OP_NOISE] = cuda_noise,
    [WML_OP_RESHAPE] = cuda_reshape,
    [WML_OP_TRANSPOSE] = cuda_transpose,
    [WML_OP_CONCAT] = cuda_concat,
    [WML_OP_CROP] = cuda_crop,
    [WML_OP_PAD] = cuda_pad,
    [WML_OP_AFFINE] = cuda_affine,
    [WML_OP_BINARY] = cuda_binary,
    [WML_OP_BINARY_BWD] = cuda_binary_bwd,
    [WML_OP_REDUCE] = cuda_reduce,
    [WML_OP_REDUCE_BWD] = cuda_reduce_bwd,
    [WML_OP_MATMUL] = cuda_matmul,
    [WML_OP_AVGPOOL] = cuda_avgpool,
    [WML_OP_AVGPOOL_BWD] = cuda_avgpool_bwd,
    [WML_OP_RESIZE] = cuda_resize,
    [WML_OP_RESIZE_BWD] = cuda_resize_bwd,
    [WML_OP_NORM] = cuda_norm,
    [WML_OP_NORM_BWD] = cuda_norm_bwd,
    [WML_OP_EMBEDDING] = cuda_embedding,
    [WML_OP_EMBEDDING_BWD] = cuda_embedding_bwd,
    [WML_OP_PENALTY] = cuda_penalties,
    [WML_OP_LOSS] = cuda_loss,
    [WML_OP_METRIC] = cuda_metric,
    [WML_OP_UPDATE] = cuda_update,
};

enum {
  ALIGNMENT = 256, /* of values in the arena: the widest accesses of the vendor's kernels */
  ASIDE_SHARE = 16 /* an arena above this part of the card's memory is kept small instead */
};

int cuda_add_temporary(wml_plan *plan, size_t bytes) {
  return frame_add_temporary(plan, bytes, -1);
}

wml_result cuda_take_temporary(wml_plan *plan, cuda_node *node, int which, size_t bytes) {
  if (bytes == 0) return WML_OK;
  node->temp[which] = cuda_add_temporary(plan, bytes);
  return node->temp[which] < 0 ? WML_OUT_OF_MEMORY : WML_OK;
}

static cuda_entry *find_or_add(wml_store *store, const wml_tensor *t) {
  for (cuda_entry *e = store->entries; e; e = e->next)
    if (strcmp(e->name, t->name) == 0) return e;
  cuda_entry *e = cuda_entry_create(store->device, t);
  if (!e) return NULL;
  e->next = store->entries;
  store->entries = e;
  return e;
}

static wml_result adopt_tensors(wml_plan *plan, const wml_graph *g) {
  plan->capacity = g->n_tensors + 16;
  plan->tensors = cuda_take(plan->device, (size_t)plan->capacity, sizeof *plan->tensors);
  plan->outputs = cuda_take(plan->device, (size_t)g->n_outputs, sizeof *plan->outputs);
  if (!plan->tensors || !plan->outputs) return WML_OUT_OF_MEMORY;
  plan->n_tensors = g->n_tensors;
  for (int i = 0; i < g->n_tensors; i++) {
    cuda_tensor *t = &plan->tensors[i];
    *t = (cuda_tensor){.info = g->tensors[i], .alias = -1, .first = -1, .last = -1};
    t->info.name = "";
    t->type = t->info.dtype == WML_I32  ? CUDA_I32_T
              : t->info.dtype == WML_U8 ? CUDA_U8_T
                                        : CUDA_F32_T;
    if (wml_role_is_persistent(t->info.role) &&
        !(t->entry = find_or_add(plan->store, &g->tensors[i])))
      return WML_OUT_OF_MEMORY;
  }
  for (int i = 0; i < g->n_outputs; i++) {
    plan->outputs[i] = g->outputs[i];
    plan->tensors[g->outputs[i]].pinned = true;
  }
  return WML_OK;
}

static wml_result find_feeds(wml_plan *plan) {
  for (int i = 0; i < plan->n_tensors; i++) {
    const wml_tensor *t = &plan->tensors[i].info;
    if (t->role != WML_ROLE_FEED) continue;
    if (plan->n_feeds == CUDA_MAX_FEEDS) {
      plan->device->host.error("a plan has more than %d feeds", CUDA_MAX_FEEDS);
      return WML_UNSUPPORTED;
    }
    plan->feeds[plan->n_feeds++] =
        (cuda_feed){i, (size_t)wml_row_elements(t) * wml_dtype_size(t->dtype)};
  }
  return WML_OK;
}

wml_result cuda_constant(wml_plan *plan, const void *host, size_t bytes, void **out) {
  wml_result result = cuda_allocate(plan->device, bytes, out);
  if (result != WML_OK) return result;
  cudaStream_t stream = plan->store->stream;
  CUDA_TRY(plan->device, cudaMemcpyAsync(*out, host, bytes, cudaMemcpyHostToDevice, stream));
  CUDA_TRY(plan->device, cudaStreamSynchronize(stream));
  plan->constant_bytes += bytes;
  return WML_OK;
}

/* ---- types ---- */

static void settle_types(wml_plan *plan) {
  if (plan->graph.precision == WML_MIXED_BFLOAT16) frame_settle_narrow(plan);
  for (int i = 0; i < plan->n_tensors; i++)
    if (plan->tensors[i].narrow) plan->tensors[i].type = CUDA_BF16_T;
  for (int k = 0; k < plan->n_nodes; k++) { /* which place of a window won: a byte */
    const cuda_node *node = &plan->nodes[k];
    if ((node->op.kind == WML_OP_MAXPOOL || node->pools) &&
        node->op.kind != WML_OP_CONV2D_BWD_WEIGHTS && node->op.out[1] >= 0)
      plan->tensors[node->op.out[1]].type = CUDA_U8_T;
  }
  for (int i = 0; i < plan->n_tensors; i++) {
    cuda_tensor *t = &plan->tensors[i];
    if (t->info.role == WML_ROLE_VALUE)
      t->bytes = (size_t)wml_elements(&t->info) * cuda_type_size(t->type);
  }
}

cuda_view cuda_weight(const wml_plan *plan, int tensor) {
  const cuda_tensor *t = &plan->tensors[tensor];
  cuda_view v = {t->data, CUDA_F32_T};
  if (plan->graph.precision == WML_MIXED_BFLOAT16) v.data = t->half, v.type = CUDA_BF16_T;
  return v;
}

/* ---- fusion ---- */

bool cuda_writes(const wml_plan *plan, int node, int tensor) {
  for (int i = 0; i < 3; i++)
    if (plan->nodes[node].op.out[i] == tensor) return true;
  return false;
}

bool cuda_reads(const wml_plan *plan, int node, int tensor) {
  return frame_reads(plan, node, tensor);
}

/* relu joins the convolution or dense layer before it where nothing else reads what lies between.
 */
static bool joins_layer(const wml_plan *plan, const cuda_node *before, const cuda_node *node) {
  return node->op.kind == WML_OP_ACTIVATION && !before->relu &&
         (before->op.kind == WML_OP_CONV2D || before->op.kind == WML_OP_DENSE) &&
         before->op.out[0] == node->op.in[0] && frame_consumers(plan, node->op.in[0]) == 1 &&
         frame_is_plain_relu(&node->op.u.activation);
}

static void forget(cuda_node *node) {
  for (int i = 0; i < WML_MAX_OPERANDS; i++) node->op.in[i] = -1;
  for (int i = 0; i < 3; i++) node->op.out[i] = -1;
  node->pooled = -1;
}

static void fuse_activations(wml_plan *plan) {
  int kept = 0;
  for (int k = 0; k < plan->n_nodes; k++) {
    cuda_node *node = &plan->nodes[k], *before = kept ? &plan->nodes[kept - 1] : NULL;
    int pooled = before ? frame_pooled(plan, &before->op, &node->op) : -1;
    if (before && joins_layer(plan, before, node)) {
      before->relu = true;
      before->op.out[0] = node->op.out[0];
    } else if (pooled >= 0) {
      before->pooled = pooled;
      before->op.out[0] = node->op.out[0];
    } else {
      cuda_node moved = *node;
      forget(node);
      plan->nodes[kept++] = moved;
      continue;
    }
    forget(node); /* reads nothing any more */
  }
  plan->n_nodes = kept;
}

/* The node that reads the tensor, when it is the only one. */
static cuda_node *only_reader(wml_plan *plan, int tensor) {
  cuda_node *found = NULL;
  if (plan->tensors[tensor].pinned) return NULL;
  for (int k = 0; k < plan->n_nodes; k++)
    if (frame_reads(plan, k, tensor)) {
      if (found) return NULL;
      found = &plan->nodes[k];
    }
  return found;
}

/* First layers have few channels: their convolution with relu and 2x2 pooling is one kernel, and
 * the gradient of its weights is another, so the largest activation of a network and its gradient
 * never reach memory. conv2d_pooled.cu says for which shapes. */
static void fuse_pooled(wml_plan *plan) {
  for (int k = 0; k < plan->n_nodes; k++) {
    cuda_node *conv = &plan->nodes[k];
    if (conv->op.kind != WML_OP_CONV2D || !conv->relu || !cuda_conv_can_pool(plan, conv)) continue;
    cuda_node *pool = only_reader(plan, conv->op.out[0]);
    if (!pool || pool->op.kind != WML_OP_MAXPOOL || !frame_halves(&pool->op.u.window)) continue;
    int index = pool->op.out[1];
    if (index >= 0) { /* training: its way back must fuse, too */
      cuda_node *back = only_reader(plan, index);
      if (!back || back->op.kind != WML_OP_MAXPOOL_BWD || back->pooled != pool->op.out[0]) continue;
      cuda_node *weights = only_reader(plan, back->op.out[0]);
      if (!weights || weights->op.kind != WML_OP_CONV2D_BWD_WEIGHTS ||
          weights->op.in[1] != back->op.out[0] || weights->op.in[0] != conv->op.in[0])
        continue;
      weights->op.in[1] = back->op.in[0];
      weights->op.in[2] = index;
      weights->pooled = pool->op.out[0];
      weights->pools = true;
      forget(back);
    }
    conv->op.out[0] = pool->op.out[0];
    conv->op.out[1] = index;
    conv->pools = true;
    forget(pool);
  }
  int kept = 0;
  for (int k = 0; k < plan->n_nodes; k++) {
    const cuda_node *node = &plan->nodes[k];
    bool empty = node->op.in[0] < 0 && node->op.out[0] < 0 && node->op.kind != WML_OP_UPDATE;
    if (!empty) plan->nodes[kept++] = *node;
  }
  plan->n_nodes = kept;
}

/* ---- implementations ---- */

static wml_result choose(wml_plan *plan, cuda_node *node) {
  const char *why = "no implementation";
  for (const cuda_implementation *list = implementations[node->op.kind]; list && list->plan;
       list++) {
    int n_tensors = plan->n_tensors;
    for (int i = 0; i < 3; i++) node->temp[i] = -1;
    wml_result result = list->plan(plan, node);
    if (result != WML_UNSUPPORTED) return result;
    plan->n_tensors = n_tensors;
    if (node->why) why = node->why;
  }
  plan->device->host.error("layer %s: %s", node->op.layer ? node->op.layer : "?", why);
  return WML_UNSUPPORTED;
}

/* Kernels of convolutions have a layout of their own; slots and gradients lie as their parameter.
 */
static void settle_layouts(wml_plan *plan) {
  for (int k = 0; k < plan->n_nodes; k++) {
    const wml_op *op = &plan->nodes[k].op;
    if (op->kind != WML_OP_CONV2D && op->kind != WML_OP_CONV2D_BWD_DATA) continue;
    const cuda_tensor *t = &plan->tensors[op->in[1]];
    memcpy(t->entry->kernel, t->info.dim, sizeof t->entry->kernel);
  }
  for (int i = 0; i < plan->n_tensors; i++) {
    cuda_tensor *t = &plan->tensors[i];
    if (t->entry && t->info.like >= 0)
      memcpy(t->entry->kernel, plan->tensors[t->info.like].entry->kernel, sizeof t->entry->kernel);
  }
}

/* ---- memory ---- */

bool cuda_same_bytes(const wml_plan *plan, int a, int b) {
  return a >= 0 && b >= 0 && frame_root(plan, a) == frame_root(plan, b);
}

static bool in_place(const wml_plan *plan, const wml_op *op) {
  const cuda_tensor *t = plan->tensors;
  switch (op->kind) {
  case WML_OP_ACTIVATION:
  case WML_OP_ACTIVATION_BWD:
    if (WML_ACTIVATION_IS_ROW(op->u.activation.kind)) return false;
    break;
  case WML_OP_BINARY: /* of values; the first operand is not broadcast */
    if (t[op->out[0]].info.role != WML_ROLE_VALUE ||
        wml_elements(&t[op->in[0]].info) != wml_elements(&t[op->out[0]].info))
      return false;
    break;
  case WML_OP_AFFINE:
  case WML_OP_DROPOUT:
  case WML_OP_NOISE:
  case WML_OP_BATCHNORM_INFER: break;
  default: return false;
  }
  return t[op->in[0]].type == t[op->out[0]].type;
}

static bool is_aside(const wml_plan *plan, int node) {
  return plan->nodes[node].aside;
}

/* Whether an output has these bytes, and is one of several. */
static bool is_one_of_outputs(const wml_plan *plan, int tensor) {
  for (int i = 0; i < plan->graph.n_outputs && plan->graph.n_outputs > 1; i++)
    if (frame_root(plan, plan->outputs[i]) == tensor) return true;
  return false;
}

/* Several outputs lie one behind the other at the end of the arena: one copy takes them all. */
static void place_outputs(wml_plan *plan) {
  if (plan->graph.n_outputs == 1) {
    const cuda_tensor *root = &plan->tensors[frame_root(plan, plan->outputs[0])];
    plan->output_offset = root->offset;
    plan->output_bytes = root->bytes;
    return;
  }
  plan->output_offset = plan->arena_bytes = wml_round_up(plan->arena_bytes, ALIGNMENT);
  for (int i = 0; i < plan->n_tensors; i++) {
    if (!is_one_of_outputs(plan, i)) continue;
    plan->tensors[i].offset = plan->arena_bytes;
    plan->arena_bytes += wml_round_up(plan->tensors[i].bytes, ALIGNMENT);
  }
  plan->output_bytes = plan->arena_bytes - plan->output_offset;
}

static wml_result place_tensors(wml_plan *plan) {
  static const frame_rules rules = {ALIGNMENT, in_place, is_aside, cuda_aside_until,
                                    is_one_of_outputs};
  for (int i = 0; i < plan->n_tensors; i++)
    plan->tensors[i].alias = plan->tensors[i].first = plan->tensors[i].last = -1;
  cuda_aside_plan(plan);
  wml_result result = frame_place(plan, &rules);
  if (result == WML_OK) place_outputs(plan);
  return result;
}

static wml_result place(wml_plan *plan) {
  wml_result result = place_tensors(plan);
  if (result != WML_OK || plan->arena_bytes <= plan->device->memory / ASIDE_SHARE) return result;
  plan->in_order = true;
  return place_tensors(plan);
}

/* ---- the plan as a whole ---- */

/* So many steps at a time that their row numbers are a few hundred kilobytes. */
static int64_t chunk_of(int64_t batch) {
  int64_t steps = 65536 / batch;
  return steps < 1 ? 1 : steps > 256 ? 256 : steps;
}

static wml_result settle_precision(wml_store *store, const wml_graph *g) {
  if (store->settled && store->precision != g->precision) {
    store->device->host.error("all plans of a store have one precision");
    return WML_INVALID;
  }
  if (g->precision == WML_MIXED_BFLOAT16 && store->device->capability < 80) {
    store->device->host.error("mixed_bfloat16 needs a GPU of compute capability 8.0 or more; this "
                              "one has %d.%d; use float32",
                              store->device->capability / 10, store->device->capability % 10);
    return WML_UNSUPPORTED;
  }
  store->settled = true;
  store->precision = g->precision;
  return WML_OK;
}

static wml_result build(wml_plan *plan, const wml_graph *g) {
  wml_result result = settle_precision(plan->store, g);
  if (result != WML_OK) return result;
  size_t items = (size_t)g->update.n_items * sizeof *g->update.items;
  wml_update_item *copies = cuda_take(plan->device, (size_t)g->update.n_items, sizeof *copies);
  plan->nodes = cuda_take(plan->device, (size_t)g->n_ops, sizeof *plan->nodes);
  plan->graph.tensors = NULL;
  plan->graph.ops = NULL;
  plan->graph.outputs = NULL;
  plan->graph.update.items = copies;
  if (!plan->nodes || !copies) return WML_OUT_OF_MEMORY;
  if (items) memcpy(copies, g->update.items, items);
  plan->n_nodes = g->n_ops;
  for (int k = 0; k < g->n_ops; k++)
    plan->nodes[k] = (cuda_node){.op = g->ops[k], .pooled = -1, .temp = {-1, -1, -1}};
  result = adopt_tensors(plan, g);
  if (result == WML_OK) result = find_feeds(plan);
  if (result != WML_OK) return result;
  fuse_activations(plan);
  fuse_pooled(plan);
  settle_types(plan);
  settle_layouts(plan);
  for (int k = 0; k < plan->n_nodes && result == WML_OK; k++) {
    result = choose(plan, &plan->nodes[k]);
    plan->nodes[k].op.layer = NULL; /* the graph may go */
  }
  if (result == WML_OK) result = cuda_branch_plan(plan);
  return result == WML_OK ? place(plan) : result;
}

wml_result cuda_plan_create(wml_store *store, const wml_graph *g, wml_plan **out) {
  wml_plan *plan = cuda_take(store->device, 1, sizeof *plan);
  if (!plan) return WML_OUT_OF_MEMORY;
  plan->store = store;
  plan->device = store->device;
  plan->graph = *g;
  plan->graph.update.items = NULL; /* until they are copied */
  plan->chunk = chunk_of(g->batch);
  wml_result result = build(plan, g);
  if (result == WML_OK)
    *out = plan;
  else
    cuda_plan_destroy(plan);
  return result;
}

void cuda_plan_destroy(wml_plan *plan) {
  if (!plan) return;
  const wml_host *host = &plan->device->host;
  cuda_plan_stop(plan);
  cuda_branch_stop(plan);
  cuda_aside_stop(plan);
  if (plan->fork) (void)cudaEventDestroy(plan->fork);
  for (int k = 0; plan->nodes && k < plan->n_nodes; k++) {
    cuda_node *node = &plan->nodes[k];
    if (node->release) node->release(plan->device, node->vendor);
    (void)cudaFree(node->constant);
  }
  (void)cudaFree(plan->arena);
  host->release((void *)(uintptr_t)plan->graph.update.items);
  host->release(plan->nodes);
  host->release(plan->tensors);
  host->release(plan->outputs);
  host->release(plan);
}

static size_t entry_bytes(const cuda_entry *e) {
  return wml_round_up((size_t)e->elements * sizeof(float), WML_PACKING_ALIGNMENT);
}

static bool has_half(const wml_plan *plan, const cuda_entry *e) {
  return e->weight && plan->graph.precision == WML_MIXED_BFLOAT16;
}

static size_t run_bytes(const wml_plan *plan) {
  if (cuda_is_direct(plan)) return cuda_direct_bytes(plan);
  return CUDA_BUFFERS * (size_t)plan->chunk *
             ((size_t)plan->graph.batch * sizeof(int64_t) + sizeof(wml_optimizer_step)) +
         sizeof *plan->state + CUDA_PENALTY_BLOCKS * sizeof *plan->penalty +
         (size_t)plan->n_squares * sizeof *plan->squares +
         (size_t)plan->n_turns * sizeof *plan->turns +
         (size_t)plan->graph.n_results * sizeof *plan->results;
}

void cuda_plan_memory(const wml_plan *plan, wml_memory *memory) {
  *memory = (wml_memory){.scratch = plan->arena_bytes + plan->constant_bytes + run_bytes(plan)};
  for (int i = 0; i < plan->n_tensors; i++) {
    const cuda_tensor *t = &plan->tensors[i];
    if (!t->entry) continue;
    size_t bytes = entry_bytes(t->entry) * (has_half(plan, t->entry) ? 3 : 2) / 2;
    if (t->info.role == WML_ROLE_PARAM || t->info.role == WML_ROLE_STATE)
      memory->params += bytes;
    else
      memory->state += bytes;
  }
  for (int r = 0; r < plan->n_ranges; r++)
    memory->state += cuda_branch_bytes(plan, &plan->ranges[r]);
  memory->saved = frame_saved(plan);
  memory->scratch -= memory->saved < memory->scratch ? memory->saved : memory->scratch;
}

/* One block for the entries that have no bytes yet, in the order given: neighbours stay neighbours,
 * which makes the update's buffers flat. Copies in bfloat16 lie in a block of their own in the same
 * order, so that the update finds both by one index. */
static wml_result allocate_entries(wml_plan *plan, const int *tensors, int n) {
  size_t total = 0;
  bool half = false;
  for (int i = 0; i < n; i++) {
    const cuda_entry *e = plan->tensors[tensors[i]].entry;
    if (e->data[0]) continue;
    total += entry_bytes(e);
    half = half || has_half(plan, e);
  }
  if (total == 0) return WML_OK;
  void *data = NULL, *halves_data = NULL;
  wml_result result = cuda_store_block(plan->store, total, &data);
  if (result == WML_OK && half) result = cuda_store_block(plan->store, total / 2, &halves_data);
  if (result != WML_OK) return result;
  size_t at = 0;
  for (int i = 0; i < n; i++) {
    cuda_entry *e = plan->tensors[tensors[i]].entry;
    if (e->data[0]) continue;
    e->data[0] = (float *)(void *)((uint8_t *)data + at);
    if (has_half(plan, e)) e->half[0] = (uint8_t *)halves_data + at / 2;
    at += entry_bytes(e);
  }
  return WML_OK;
}

wml_result cuda_plan_prepare(wml_plan *plan) {
  if (plan->prepared) return WML_OK;
  wml_result result = frame_persistent(plan, allocate_entries);
  void *arena = NULL;
  if (result == WML_OK) result = cuda_allocate(plan->device, plan->arena_bytes, &arena);
  if (result != WML_OK) return result;
  plan->arena = arena;
  for (int i = 0; i < plan->n_tensors; i++) {
    cuda_tensor *t = &plan->tensors[i];
    if (!t->entry && t->info.role == WML_ROLE_VALUE)
      t->data = plan->arena + plan->tensors[frame_root(plan, i)].offset;
  }
  result = cuda_new_event(plan->device, &plan->fork);
  if (result == WML_OK) result = cuda_aside_start(plan);
  if (result == WML_OK) result = cuda_branch_start(plan);
  cuda_face(plan, 0);
  if (result == WML_OK) result = cuda_tune(plan);
  if (result == WML_OK) result = cuda_plan_start(plan);
  plan->prepared = result == WML_OK;
  return result;
}
