/* Updates of large layers on a branch of the step's graph, beside the rest of the backward pass: an
 * optimizer moves some 30 bytes a parameter, more time than all else takes at small batches.
 *
 * A step must change nothing when any of its gradients is not finite, and a branch begins before
 * all are known. So it does not write over what it reads: weights, slots and copies in bfloat16
 * have two sides, a step reads one and writes the other, and the next step reads that. A step that
 * was bad leaves the side that it read as it was, and nothing after it runs on. Between runs
 * everything is on side 0, where other plans and the caller look for it. The price is the memory of
 * the second side: only layers of WEBML_CUDA_BRANCH_ELEMENTS parameters or more have one, as long
 * as all of them together take no more than a thirty-second of the card.
 *
 * A branch is joined as late as possible: before the next step touches its weights or gradients, or
 * at the end of the graph. */
#include "cuda.h"

enum { SHARE_OF_MEMORY = 32 };

/* The operation that computes a gradient. */
static int author_of(const wml_plan *plan, int gradient) {
  int found = -1;
  for (int k = 0; k < plan->n_nodes; k++)
    if (cuda_writes(plan, k, gradient)) found = k;
  return found;
}

/* ---- planning ---- */

static int items_with_slots(const wml_plan *plan, const wml_update_item *item, int *tensors) {
  int n = 0, slots = wml_optimizer_slots(&plan->graph.update.optimizer);
  tensors[n++] = item->param;
  for (int i = 0; i < slots; i++) tensors[n++] = item->slot[i];
  return n;
}

size_t cuda_branch_bytes(const wml_plan *plan, const cuda_range *range) {
  if (range->node < 0) return 0;
  size_t slots = (size_t)wml_optimizer_slots(&plan->graph.update.optimizer),
         bytes = (size_t)range->n * sizeof(float) * (1 + slots);
  return plan->graph.precision == WML_MIXED_BFLOAT16 ? bytes + (size_t)range->n * 2 : bytes;
}

static void add_range(wml_plan *plan, int first, int count, int node) {
  cuda_range *last = plan->n_ranges > 0 ? &plan->ranges[plan->n_ranges - 1] : NULL;
  if (node < 0 && last && last->node < 0) {
    last->count += count;
    return;
  }
  plan->ranges[plan->n_ranges++] = (cuda_range){.first = first, .count = count, .node = node};
}

/* Neighbours whose gradients one operation computes are a layer; large ones get a branch. */
wml_result cuda_branch_plan(wml_plan *plan) {
  const wml_update *u = &plan->graph.update;
  const wml_device *device = plan->device;
  bool updates = plan->n_nodes > 0 && plan->nodes[plan->n_nodes - 1].op.kind == WML_OP_UPDATE;
  size_t room = device->memory / SHARE_OF_MEMORY;
  if (!updates) return WML_OK;
  plan->ranges = cuda_take(device, (size_t)u->n_items, sizeof *plan->ranges);
  if (!plan->ranges) return WML_OUT_OF_MEMORY;
  for (int i = 0, next; i < u->n_items; i = next) {
    int node = author_of(plan, u->items[i].grad);
    cuda_range layer = {.node = node};
    for (next = i; next < u->n_items && author_of(plan, u->items[next].grad) == node; next++)
      layer.n += cuda_update_length(plan, &u->items[next]);
    size_t bytes = cuda_branch_bytes(plan, &layer);
    bool apart = node >= 0 && device->branch_elements > 0 && layer.n >= device->branch_elements &&
                 bytes <= room && cuda_update_is_apart(&u->optimizer);
    if (apart) room -= bytes;
    add_range(plan, i, next - i, apart ? node : -1);
  }
  plan->n_turns = 1;
  for (int r = 0; r < plan->n_ranges; r++) {
    cuda_range *range = &plan->ranges[r];
    for (int i = 0; i < range->count; i++)
      range->n += cuda_update_length(plan, &u->items[range->first + i]);
    range->turn = range->node < 0 ? 0 : plan->n_turns++;
    range->squares = plan->n_squares;
    plan->n_squares += cuda_update_squares(range->n);
  }
  return WML_OK;
}

/* ---- memory ---- */

/* One block for a column of a range, as the first side has it. */
static wml_result second_side(wml_plan *plan, const cuda_range *range, int column) {
  int tensors[2 + WML_MAX_SLOTS];
  void *data = NULL, *half = NULL;
  size_t at = 0;
  const wml_update_item *items = &plan->graph.update.items[range->first];
  items_with_slots(plan, items, tensors);
  const cuda_entry *first = plan->tensors[tensors[column]].entry;
  if (first->data[1]) return WML_OK; /* another plan of the store has made it */
  wml_result result = cuda_store_block(plan->store, (size_t)range->n * sizeof(float), &data);
  if (result == WML_OK && first->half[0])
    result = cuda_store_block(plan->store, (size_t)range->n * 2, &half);
  if (result != WML_OK) return result;
  for (int i = 0; i < range->count; i++) {
    items_with_slots(plan, &items[i], tensors);
    cuda_entry *e = plan->tensors[tensors[column]].entry;
    e->data[1] = (float *)data + at;
    if (half) e->half[1] = (uint16_t *)half + at;
    at += (size_t)cuda_update_length(plan, &items[i]);
  }
  return WML_OK;
}

static wml_result start_branches(wml_plan *plan) {
  wml_device *device = plan->device;
  wml_result result = cuda_new_stream(device, false, &plan->branch);
  for (int r = 0; r < plan->n_ranges && result == WML_OK; r++) {
    cuda_range *range = &plan->ranges[r];
    if (range->node < 0) continue;
    int columns = 1 + wml_optimizer_slots(&plan->graph.update.optimizer);
    for (int i = 0; i < columns && result == WML_OK; i++) result = second_side(plan, range, i);
    if (result == WML_OK) result = cuda_new_event(device, &range->looked);
    if (result == WML_OK) result = cuda_new_event(device, &range->done);
  }
  return result;
}

wml_result cuda_branch_start(wml_plan *plan) {
  void *squares = NULL, *turns = NULL;
  if (plan->n_ranges == 0) return WML_OK;
  wml_result result =
      cuda_allocate(plan->device, (size_t)plan->n_squares * sizeof *plan->squares, &squares);
  if (result == WML_OK)
    result = cuda_allocate(plan->device, (size_t)plan->n_turns * sizeof *plan->turns, &turns);
  plan->squares = squares, plan->turns = turns;
  return result == WML_OK && plan->n_turns > 1 ? start_branches(plan) : result;
}

void cuda_branch_stop(wml_plan *plan) {
  for (int r = 0; r < plan->n_ranges; r++) {
    if (plan->ranges[r].looked) (void)cudaEventDestroy(plan->ranges[r].looked);
    if (plan->ranges[r].done) (void)cudaEventDestroy(plan->ranges[r].done);
  }
  if (plan->branch) (void)cudaStreamDestroy(plan->branch);
  (void)cudaFree(plan->squares);
  (void)cudaFree(plan->turns);
  plan->device->host.release(plan->ranges);
  plan->ranges = NULL;
  plan->n_ranges = 0;
}

void cuda_face(wml_plan *plan, int side) {
  for (int i = 0; i < plan->n_tensors; i++) {
    cuda_tensor *t = &plan->tensors[i];
    if (!t->entry) continue;
    int own = t->entry->data[1] && plan->n_turns > 1 ? side : 0;
    t->data = t->entry->data[own];
    t->half = t->entry->half[own];
  }
}

/* ---- recording ---- */

static wml_result wait_for(cuda_call *call, cudaEvent_t event) {
  CUDA_TRY(call->plan->device, cudaStreamWaitEvent(call->stream, event, 0));
  return WML_OK;
}

static bool touches(const wml_plan *plan, int node, const cuda_range *range) {
  const wml_update_item *items = &plan->graph.update.items[range->first];
  for (int i = 0; i < range->count; i++)
    if (cuda_reads(plan, node, items[i].param) || cuda_writes(plan, node, items[i].grad))
      return true;
  return false;
}

static bool has_penalty(const wml_plan *plan, const cuda_range *range) {
  const wml_update_item *items = &plan->graph.update.items[range->first];
  for (int i = 0; i < range->count; i++)
    if (items[i].l1 != 0.0f || items[i].l2 != 0.0f) return true;
  return false;
}

/* node -1: what a step begins with. The first stream waits: others begin behind it. */
wml_result cuda_branch_before(cuda_call *call, int node) {
  const wml_plan *plan = call->plan;
  wml_result result = WML_OK;
  call->stream = plan->store->stream;
  for (int r = 0; r < plan->n_ranges && result == WML_OK; r++) {
    cuda_range *range = &plan->ranges[r];
    bool update = node == plan->n_nodes - 1;
    if (range->node < 0 || !range->pending) continue;
    if (update) /* this step's branches: what they saw of their gradients */
      result = wait_for(call, range->looked);
    else if (node < 0 ? has_penalty(plan, range)
                      : range->node >= node && touches(plan, node, range)) {
      result = wait_for(call, range->done); /* the step before's */
      range->pending = false;
    }
  }
  return result;
}

static wml_result begin(cuda_call *call, cuda_range *range) {
  const wml_plan *plan = call->plan;
  wml_device *device = plan->device;
  cuda_call branch = *call;
  branch.stream = plan->branch;
  CUDA_TRY(device, cudaEventRecord(plan->fork, call->stream));
  CUDA_TRY(device, cudaStreamWaitEvent(plan->branch, plan->fork, 0));
  cuda_update_look(&branch, range);
  CUDA_TRY(device, cudaEventRecord(range->looked, plan->branch));
  cuda_update_range(&branch, range);
  CUDA_TRY(device, cudaGetLastError());
  CUDA_TRY(device, cudaEventRecord(range->done, plan->branch));
  range->pending = true;
  return WML_OK;
}

wml_result cuda_branch_after(cuda_call *call, int node) {
  const wml_plan *plan = call->plan;
  wml_result result = WML_OK;
  for (int r = 0; r < plan->n_ranges && result == WML_OK; r++)
    if (plan->ranges[r].node == node) result = begin(call, &plan->ranges[r]);
  return result;
}

wml_result cuda_branch_join(cuda_call *call) {
  const wml_plan *plan = call->plan;
  wml_result result = WML_OK;
  for (int r = 0; r < plan->n_ranges && result == WML_OK; r++) {
    if (!plan->ranges[r].pending) continue;
    result = wait_for(call, plan->ranges[r].done);
    plan->ranges[r].pending = false;
  }
  return result;
}

void cuda_branch_settle(const wml_plan *plan) {
  int tensors[2 + WML_MAX_SLOTS];
  for (int r = 0; r < plan->n_ranges; r++) {
    const cuda_range *range = &plan->ranges[r];
    if (range->node < 0) continue;
    int n = items_with_slots(plan, &plan->graph.update.items[range->first], tensors);
    for (int i = 0; i < n; i++) {
      const cuda_entry *e = plan->tensors[tensors[i]].entry;
      cuda_update_settle(plan, e->data[0], e->data[1], range->n);
      if (e->half[0]) cuda_update_settle(plan, e->half[0], e->half[1], range->n / 2);
    }
  }
}
