/* What the back ends that plan their memory have in common: temporaries, which fusions are allowed,
 * results in place, lifetimes, the order of persistent tensors.
 *
 * A back end's plan.c includes this behind its own header. The functions work on its wml_plan by
 * the names of members: device->host; graph; n_tensors, capacity and tensors (info, bytes, alias,
 * first, last, pinned, narrow, offset, entry); n_nodes and nodes (op, pooled, temp);
 * arena_bytes. */
#ifndef WML_COMMON_FRAME_H
#define WML_COMMON_FRAME_H

#include "../backend.h"
#include "packing.h"

#include <math.h>
#include <string.h>

#define FRAME_LENGTH(array) ((int)(sizeof(array) / sizeof *(array)))

/* What a back end decides. */
typedef struct frame_rules {
  size_t alignment; /* of values in the arena */
  /* Whether the operation may write its first result over its first operand. */
  bool (*in_place)(const wml_plan *plan, const wml_op *op);
  /* Whether the operation may run later than where it stands, and before which one it has ended;
   * NULL: all run in their order. */
  bool (*aside)(const wml_plan *plan, int node);
  int (*until)(const wml_plan *plan, int node);
  /* Whether the back end itself gives a value its place; NULL: none. Asked when it is known which
   * tensors share their bytes. */
  bool (*elsewhere)(const wml_plan *plan, int tensor);
} frame_rules;

/* A value of one operation; node -1: it is found among the operation's `temp`. Returns its index,
 * -1: no memory. */
static int frame_add_temporary(wml_plan *plan, size_t bytes, int node) {
  if (plan->n_tensors == plan->capacity) {
    int capacity = plan->capacity * 2 + 16;
    void *grown = wml_take(&plan->device->host, (size_t)capacity, sizeof *plan->tensors);
    if (!grown) return -1;
    memcpy(grown, plan->tensors, (size_t)plan->n_tensors * sizeof *plan->tensors);
    plan->device->host.release(plan->tensors);
    plan->tensors = grown;
    plan->capacity = capacity;
  }
  __typeof__(plan->tensors) t = &plan->tensors[plan->n_tensors];
  memset(t, 0, sizeof *t);
  t->info.role = WML_ROLE_VALUE;
  t->info.name = "";
  t->bytes = bytes;
  t->alias = -1;
  t->first = t->last = node;
  return plan->n_tensors++;
}

/* ---- types ---- */

/* Which values are bfloat16 under mixed precision: all but what the loss, the metrics and the
 * caller read, and statistics. A view has the type of what it looks at. */
static void frame_settle_narrow(wml_plan *plan) {
  __typeof__(plan->tensors) t = plan->tensors;
  for (int i = 0; i < plan->n_tensors; i++)
    t[i].narrow = t[i].info.role == WML_ROLE_VALUE && t[i].info.dtype == WML_F32 && !t[i].pinned;
  for (int k = 0; k < plan->n_nodes; k++) {
    const wml_op *op = &plan->nodes[k].op;
    if (op->kind == WML_OP_BATCHNORM_TRAIN) t[op->out[1]].narrow = t[op->out[2]].narrow = false;
    for (int i = 1; op->kind == WML_OP_NORM && i < 3; i++)
      if (op->out[i] >= 0) t[op->out[i]].narrow = false;
    if (op->kind != WML_OP_LOSS && op->kind != WML_OP_METRIC) continue;
    for (int i = 0; i < 3; i++)
      if (op->in[i] >= 0) t[op->in[i]].narrow = false;
  }
  for (int k = plan->n_nodes - 1; k >= 0; k--) {
    const wml_op *op = &plan->nodes[k].op;
    if (op->kind == WML_OP_RESHAPE && !t[op->out[0]].narrow) t[op->in[0]].narrow = false;
  }
  for (int k = 0; k < plan->n_nodes; k++) {
    const wml_op *op = &plan->nodes[k].op;
    if (op->kind == WML_OP_RESHAPE) t[op->out[0]].narrow = t[op->in[0]].narrow;
  }
}

/* ---- fusion ---- */

static bool frame_reads(const wml_plan *plan, int node, int tensor) {
  if (plan->nodes[node].pooled == tensor) return true;
  for (int i = 0; i < WML_MAX_OPERANDS; i++)
    if (plan->nodes[node].op.in[i] == tensor) return true;
  return false;
}

/* How many operations read the tensor, and the caller when it is an output. */
static int frame_consumers(const wml_plan *plan, int tensor) {
  int count = plan->tensors[tensor].pinned;
  for (int k = 0; k < plan->n_nodes; k++) count += frame_reads(plan, k, tensor);
  return count;
}

static bool frame_is_plain_relu(const wml_activation *a) {
  return a->kind == WML_RELU && a->alpha == 0.0f && a->threshold == 0.0f && isinf(a->max_value);
}

/* A pooling of 2x2 windows that lie side by side. */
static bool frame_halves(const wml_window *w) {
  for (int i = 0; i < 2; i++)
    if (w->size[i] != 2 || w->stride[i] != 2 || w->pad_before[i] || w->pad_after[i]) return false;
  return true;
}

/* relu, then pooling: going back, the pooled value says whether the winner was positive, so the
 * large activation is neither read nor kept. Returns that value when the gradient of relu (`op`)
 * can join that of the pooling (`before`), else -1. */
static int frame_pooled(const wml_plan *plan, const wml_op *before, const wml_op *op) {
  if (op->kind != WML_OP_ACTIVATION_BWD || before->kind != WML_OP_MAXPOOL_BWD ||
      before->out[0] != op->in[0] || frame_consumers(plan, op->in[0]) != 1 ||
      !frame_is_plain_relu(&op->u.activation))
    return -1;
  for (int k = 0; k < plan->n_nodes; k++) {
    const wml_op *pool = &plan->nodes[k].op;
    if (pool->kind == WML_OP_MAXPOOL && pool->in[0] == op->in[1] && pool->out[1] == before->in[1])
      return pool->out[0];
  }
  return -1;
}

/* ---- memory ---- */

/* The tensor whose bytes this one has. */
static int frame_root(const wml_plan *plan, int tensor) {
  while (plan->tensors[tensor].alias >= 0) tensor = plan->tensors[tensor].alias;
  return tensor;
}

static bool frame_reads_bytes(const wml_plan *plan, int node, int root) {
  int pooled = plan->nodes[node].pooled;
  if (pooled >= 0 && frame_root(plan, pooled) == root) return true;
  for (int i = 0; i < WML_MAX_OPERANDS; i++) {
    int tensor = plan->nodes[node].op.in[i];
    if (tensor >= 0 && frame_root(plan, tensor) == root) return true;
  }
  return false;
}

static bool frame_read_after(const wml_plan *plan, const frame_rules *rules, int tensor, int node) {
  int root = frame_root(plan, tensor);
  for (int t = 0; t < plan->n_tensors; t++)
    if (plan->tensors[t].pinned && frame_root(plan, t) == root) return true;
  for (int k = 0; k < plan->n_nodes; k++)
    if ((k > node || (rules->aside && rules->aside(plan, k))) && frame_reads_bytes(plan, k, root))
      return true;
  return false;
}

/* Views share their bytes always, results in place with an operand that nobody reads again. */
static void frame_alias(wml_plan *plan, const frame_rules *rules) {
  for (int k = 0; k < plan->n_nodes; k++) {
    const wml_op *op = &plan->nodes[k].op;
    bool view = op->kind == WML_OP_RESHAPE;
    if (!view && !rules->in_place(plan, op)) continue;
    if (plan->tensors[op->in[0]].info.role == WML_ROLE_VALUE &&
        (view || !frame_read_after(plan, rules, op->in[0], k)))
      plan->tensors[op->out[0]].alias = op->in[0];
  }
}

static void frame_extend(wml_plan *plan, int tensor, int node) {
  if (tensor < 0) return;
  __typeof__(plan->tensors) t = &plan->tensors[frame_root(plan, tensor)];
  if (t->first < 0 || node < t->first) t->first = node;
  if (node > t->last) t->last = node;
  if (plan->tensors[tensor].pinned) t->last = plan->n_nodes;
}

/* Operation `node` touches the tensor. */
static void frame_touch(wml_plan *plan, const frame_rules *rules, int tensor, int node) {
  frame_extend(plan, tensor, node);
  if (rules->aside && rules->aside(plan, node))
    frame_extend(plan, tensor, rules->until(plan, node));
}

/* Gives every value its place in the arena. */
static wml_result frame_place(wml_plan *plan, const frame_rules *rules) {
  frame_alias(plan, rules);
  for (int k = 0; k < plan->n_nodes; k++) {
    __typeof__(plan->nodes) node = &plan->nodes[k];
    for (int i = 0; i < WML_MAX_OPERANDS; i++) frame_touch(plan, rules, node->op.in[i], k);
    for (int i = 0; i < FRAME_LENGTH(node->op.out); i++)
      frame_touch(plan, rules, node->op.out[i], k);
    for (int i = 0; i < FRAME_LENGTH(node->temp); i++) frame_touch(plan, rules, node->temp[i], k);
    frame_touch(plan, rules, node->pooled, k);
  }
  size_t n = (size_t)plan->n_tensors;
  wml_lifetime *life = wml_take(&plan->device->host, n, sizeof *life);
  int *order = wml_take(&plan->device->host, n, sizeof *order);
  wml_result result = life && order ? WML_OK : WML_OUT_OF_MEMORY;
  for (size_t i = 0; result == WML_OK && i < n; i++) {
    __typeof__(plan->tensors) t = &plan->tensors[i];
    bool placed = t->info.role == WML_ROLE_VALUE && t->alias < 0 && t->first >= 0 && !t->entry &&
                  !(rules->elsewhere && rules->elsewhere(plan, (int)i));
    life[i] =
        (wml_lifetime){placed ? wml_round_up(t->bytes, rules->alignment) : 0, t->first, t->last, 0};
  }
  if (result == WML_OK) {
    plan->arena_bytes = wml_pack(life, (int)n, order);
    for (size_t i = 0; i < n; i++) plan->tensors[i].offset = life[i].offset;
  }
  plan->device->host.release(life);
  plan->device->host.release(order);
  return result;
}

/* Bytes of values that outlive the forward pass; a plan without a loss has none. */
static size_t frame_saved(const wml_plan *plan) {
  size_t saved = 0;
  int forward = 0;
  while (forward < plan->n_nodes && plan->nodes[forward].op.kind != WML_OP_LOSS) forward++;
  for (int i = 0; i < plan->n_tensors && forward < plan->n_nodes; i++) {
    __typeof__(plan->tensors) t = &plan->tensors[i];
    if (t->info.role == WML_ROLE_VALUE && t->alias < 0 && t->first < forward && t->last > forward)
      saved += t->bytes;
  }
  return saved;
}

/* Parameters in the order of the update, then their gradients, then each of their slots, then the
 * rest: neighbours in memory, so that the update goes over flat buffers. `allocate` gets the
 * tensors of one such column and takes those that have no bytes yet. */
static wml_result frame_persistent(wml_plan *plan,
                                   wml_result (*allocate)(wml_plan *plan, const int *tensors,
                                                          int n)) {
  const wml_update *u = &plan->graph.update;
  int *list = wml_take(&plan->device->host, (size_t)plan->n_tensors, sizeof *list);
  wml_result result = list ? WML_OK : WML_OUT_OF_MEMORY;
  for (int column = 0; column < 2 + WML_MAX_SLOTS && result == WML_OK; column++) {
    int n = 0;
    for (int i = 0; i < u->n_items; i++) {
      const wml_update_item *item = &u->items[i];
      int tensor = column == 0 ? item->param : column == 1 ? item->grad : item->slot[column - 2];
      if (tensor >= 0) list[n++] = tensor;
    }
    result = allocate(plan, list, n);
  }
  int n = 0;
  for (int i = 0; result == WML_OK && i < plan->n_tensors; i++)
    if (plan->tensors[i].entry) list[n++] = i;
  if (result == WML_OK) result = allocate(plan, list, n);
  plan->device->host.release(list);
  return result;
}

#endif
