/* Choosing between the vendors' candidates by timing them, once per shape and card: the choices are
 * kept in a text file that every process adds lines to. A file that is damaged, or gone, costs the
 * time to choose again (some ten milliseconds an operation). Deterministic plans have one
 * candidate, the heuristics' first, since a choice by time may fall otherwise the next time. */
#include "cuda.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { REPEATS = 5, ROUNDS = 3, LINE_BYTES = 320 };

/* The candidate that the file names for this key and number of candidates; -1: none. */
static int remembered(const wml_device *device, const char *key, int count) {
  char line[LINE_BYTES];
  int found = -1, choice, of, at;
  FILE *f = device->tuning_file[0] ? fopen(device->tuning_file, "re") : NULL;
  while (f && fgets(line, sizeof line, f)) {
    line[strcspn(line, "\n")] = '\0';
    if (sscanf(line, "%d of %d in %*f us: %n", &choice, &of, &at) == 2 && of == count &&
        choice >= 0 && choice < count && strcmp(line + at, key) == 0)
      found = choice; /* the last line wins */
  }
  if (f) fclose(f);
  return found;
}

/* One write at the end of the file: lines of several processes do not mix. */
static void remember(const wml_device *device, const char *key, int count, int choice, double us) {
  char line[LINE_BYTES];
  if (!device->tuning_file[0]) return;
  int n = snprintf(line, sizeof line, "%d of %d in %.2f us: %s\n", choice, count, us, key);
  int fd = open(device->tuning_file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) return;
  if (n > 0 && n < LINE_BYTES && write(fd, line, (size_t)n) != n) {
    /* a full disk: the choice is made again the next time */
  }
  close(fd);
}

typedef void (*timed)(cuda_call *call, const void *what);

static void run_node(cuda_call *call, const void *what) {
  const cuda_node *node = what;
  node->run(call, node);
}

static void run_branch(cuda_call *call, const void *what) {
  const cuda_range *range = what;
  cuda_update_look(call, range);
  cuda_update_range(call, range);
}

/* Microseconds of one run, the best of some rounds; negative: it does not run. */
static double time_runs(wml_plan *plan, timed run, const void *what, cudaEvent_t from,
                        cudaEvent_t to) {
  cudaStream_t stream = plan->store->stream;
  double best = -1.0;
  for (int round = 0; round <= ROUNDS; round++) { /* the first warms up */
    cuda_call call = {.plan = plan, .stream = stream, .result = WML_OK};
    float milliseconds = 0.0f;
    if (cudaEventRecord(from, stream) != cudaSuccess) return -1.0;
    for (int i = 0; i < REPEATS && call.result == WML_OK; i++) run(&call, what);
    if (call.result != WML_OK || cudaGetLastError() != cudaSuccess ||
        cudaEventRecord(to, stream) != cudaSuccess || cudaEventSynchronize(to) != cudaSuccess ||
        cudaEventElapsedTime(&milliseconds, from, to) != cudaSuccess)
      return -1.0;
    double us = (double)milliseconds * 1e3 / REPEATS;
    if (round > 0 && (best < 0.0 || us < best)) best = us;
  }
  return best;
}

static wml_result choose(wml_plan *plan, cuda_node *node, int count, cudaEvent_t from,
                         cudaEvent_t to) {
  const cuda_tuning *t = node->tuning;
  int best = -1;
  double least = 0.0;
  for (int i = 0; i < count; i++) {
    t->select(node->vendor, i);
    double us = time_runs(plan, run_node, node, from, to);
    if (us >= 0.0 && (best < 0 || us < least)) best = i, least = us;
  }
  CUDA_TRY(plan->device, cudaStreamSynchronize(plan->store->stream));
  if (best < 0) return WML_DEVICE_FAILED; /* the last candidate's error is set */
  node->name = t->select(node->vendor, best);
  remember(plan->device, t->key(node->vendor), count, best, least);
  return WML_OK;
}

wml_result cuda_profile(wml_plan *plan) {
  cudaEvent_t from = NULL, to = NULL;
  plan->profiled = true;
  CUDA_TRY(plan->device, cudaEventCreateWithFlags(&from, cudaEventDefault));
  CUDA_TRY(plan->device, cudaEventCreateWithFlags(&to, cudaEventDefault));
  for (int k = 0; k < plan->n_nodes; k++) {
    cuda_node *node = &plan->nodes[k];
    double us = time_runs(plan, run_node, node, from, to);
    int n = snprintf(node->text, sizeof node->text, "%8.2f us  %.40s", us, node->name);
    node->name = node->text;
    for (int r = 0; r < plan->n_ranges; r++)
      if (plan->ranges[r].node == k)
        snprintf(node->text + n, sizeof node->text - (size_t)n, ", branch: %.2f us",
                 time_runs(plan, run_branch, &plan->ranges[r], from, to));
  }
  (void)cudaEventDestroy(from);
  (void)cudaEventDestroy(to);
  return WML_OK;
}

/* Vendors' libraries load their code when it runs first, which must not be while a graph is
 * captured.
 */
static wml_result run_once(wml_plan *plan) {
  cuda_call call = {.plan = plan, .stream = plan->store->stream, .result = WML_OK};
  for (int k = 0; k < plan->n_nodes && call.result == WML_OK; k++)
    if (plan->nodes[k].vendor) plan->nodes[k].run(&call, &plan->nodes[k]);
  if (call.result != WML_OK) return call.result;
  CUDA_TRY(plan->device, cudaGetLastError());
  CUDA_TRY(plan->device, cudaStreamSynchronize(plan->store->stream));
  return WML_OK;
}

wml_result cuda_tune(wml_plan *plan) {
  wml_device *device = plan->device;
  cudaEvent_t from = NULL, to = NULL;
  wml_result result = WML_OK;
  for (int k = 0; k < plan->n_nodes && result == WML_OK; k++) {
    cuda_node *node = &plan->nodes[k];
    int count = node->tuning ? node->tuning->count(node->vendor) : 0;
    if (count < 2) continue;
    int choice = remembered(device, node->tuning->key(node->vendor), count);
    if (choice >= 0) {
      node->name = node->tuning->select(node->vendor, choice);
      continue;
    }
    if (!from) {
      /* Numbers of ordinary size: hardware runs faster on zeros than on data. */
      result = cuda_check(
          device, cudaMemsetAsync(plan->arena, 0x3D, plan->arena_bytes, plan->store->stream),
          "cudaMemsetAsync");
      if (result == WML_OK)
        result = cuda_check(device, cudaEventCreateWithFlags(&from, cudaEventDefault),
                            "cudaEventCreate");
      if (result == WML_OK)
        result =
            cuda_check(device, cudaEventCreateWithFlags(&to, cudaEventDefault), "cudaEventCreate");
    }
    if (result == WML_OK) result = choose(plan, node, count, from, to);
  }
  if (from) (void)cudaEventDestroy(from);
  if (to) (void)cudaEventDestroy(to);
  return result == WML_OK ? run_once(plan) : result;
}
