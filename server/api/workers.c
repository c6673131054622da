/* Threads that run calls. What is short, what starts processes and what computes passwords each
 * have a lane of their own, and in each lane accounts (or addresses, of strangers) take turns: a
 * flood of one kind, or of one account, delays nobody else. */
#include "api.h"

#include <stdlib.h>
#include <string.h>

enum { SHORT, TOOL, PASSWORD, LANES };

struct api_workers {
  lane *lanes[LANES];
};

static const lane_options options[LANES] = {
    [SHORT] = {.threads = 12, .most = 4096, .most_per_key = 512, .running_per_key = 8},
    [TOOL] = {.threads = 4, .most = 256, .most_per_key = 8, .running_per_key = 2},
    [PASSWORD] = {.threads = 1, .most = 256, .most_per_key = 16},
};

bool api_workers_start(api *a) {
  if (!(a->workers = calloc(1, sizeof *a->workers))) return false;
  for (int i = 0; i < LANES; i++)
    if (!(a->workers->lanes[i] = lane_create(&options[i]))) return false;
  return true;
}

void api_workers_stop(api *a) {
  if (!a->workers) return;
  /* In this order: a call may go on from the first to another. */
  for (int i = 0; i < LANES; i++) lane_stop(a->workers->lanes[i]);
  for (int i = 0; i < LANES; i++) lane_destroy(a->workers->lanes[i]);
  free(a->workers);
  a->workers = NULL;
}

/* Accounts have numbers from 1 on; addresses get negative ones. */
static int64_t key_of(const api_call *call) {
  if (call->user.id) return call->user.id;
  uint64_t hash = 14695981039346656037u; /* FNV-1a */
  for (const char *c = http_peer(call->request); *c; c++)
    hash = (hash ^ (unsigned char)*c) * 1099511628211u;
  return -(int64_t)(hash >> 2) - 1;
}

static int lane_of(const api_call *call) {
  return call->route->how & API_TOOL ? TOOL : call->route->how & API_PASSWORD ? PASSWORD : SHORT;
}

static void put(api_call *call, int which);

static void run_call(api_call *call) {
  store_use_ballast(call->route->how & API_ESSENTIAL);
  call->route->run(call);
  store_use_ballast(false);
}

static void run_in_lane(lane_task *task) {
  api_call *call = (api_call *)task;
  if (http_is_gone(call->request))
    api_fail(call, 503, "the client has gone");
  else if (api_check_fields(call) && api_idempotency_begin(call))
    run_call(call);
}

/* The first look at a call: whose it is. What belongs into another lane goes there, in his name. */
static void run_first(lane_task *task) {
  api_call *call = (api_call *)task;
  if (http_is_gone(call->request))
    api_fail(call, 503, "the client has gone");
  else if (api_authenticate(call, false) != API_PASSED)
    return;
  else if (lane_of(call) != SHORT)
    put(call, lane_of(call));
  else
    run_in_lane(task);
}

static void put(api_call *call, int which) {
  call->task.run = which == SHORT ? run_first : run_in_lane;
  if (lane_put(call->api->workers->lanes[which], key_of(call), &call->task)) return;
  api_add_header(call, "retry-after", "1");
  api_fail(call, 503, "too many of your calls are waiting; try again in a moment");
}

void api_requeue(api_call *call) {
  put(call, SHORT);
}

void api_queue(api_call *call) {
  if (http_detach(call->request))
    put(call, SHORT);
  else
    api_forget(call); /* was answered: no memory */
}
