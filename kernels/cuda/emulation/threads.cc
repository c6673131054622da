/* Kernels on the host. What CUDA leaves open is drawn anew for every launch: the order of blocks,
 * and that of a block's threads between two barriers; a kernel that needs a barrier it does not
 * have then gives other bits from time to time. */
#include "threads.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

emulated_index threadIdx, blockIdx, blockDim, gridDim;

namespace {

enum { STACK_BYTES = 128 << 10, MAX_THREADS = 1024, LANES = 32 };

struct fiber {
  ucontext_t context;
  jmp_buf place; /* where it goes on */
  bool started;
  char *stack;
  bool done;
  const unsigned *gate; /* NULL, or it waits while this has the value it had */
  unsigned closed;
};

fiber fibers[MAX_THREADS];
int current = -1; /* thread of the block, -1: threads run one after another */
int waiting, live;
unsigned generation;
unsigned warp_generation[MAX_THREADS / LANES];
int warp_waiting[MAX_THREADS / LANES];
/* What lanes give to each other, in turns: who is at the next exchange has read the one before. */
char lane_value[2][MAX_THREADS][EMULATED_LANE_BYTES];
unsigned exchanges[MAX_THREADS];
const std::function<void()> *running;

void fail(const char *why) {
  fprintf(stderr, "emulated kernel: %s\n", why);
  abort();
}

/* ---- fibers ---- */

#if defined(__SANITIZE_ADDRESS__)
ucontext_t scheduler;
void *scheduler_fake;
const void *scheduler_stack;
size_t scheduler_size;

void to_scheduler() {
  int self = current;
  void *fake = NULL;
  __sanitizer_start_switch_fiber(&fake, scheduler_stack, scheduler_size);
  swapcontext(&fibers[self].context, &scheduler);
  __sanitizer_finish_switch_fiber(fake, &scheduler_stack, &scheduler_size);
  threadIdx.x = (unsigned)self;
}

void enter_fiber() {
  __sanitizer_finish_switch_fiber(NULL, &scheduler_stack, &scheduler_size);
}

__attribute__((noinline)) void switch_to(int i) { /* out of the way of longjmp */
  current = i;
  __sanitizer_start_switch_fiber(&scheduler_fake, fibers[i].stack, STACK_BYTES);
  swapcontext(&scheduler, &fibers[i].context);
  __sanitizer_finish_switch_fiber(scheduler_fake, NULL, NULL);
}
#else /* swapcontext asks the system for the signals each time; jumps do not */
jmp_buf scheduler_place;

void to_scheduler() {
  int self = current;
  if (_setjmp(fibers[self].place) == 0) _longjmp(scheduler_place, 1);
  threadIdx.x = (unsigned)self;
}

void enter_fiber() {}

__attribute__((noinline)) void switch_to(int i) { /* out of the way of longjmp */
  current = i;
  if (_setjmp(scheduler_place)) return;
  if (fibers[i].started) _longjmp(fibers[i].place, 1);
  fibers[i].started = true;
  setcontext(&fibers[i].context);
}
#endif

/* A fiber serves one thread after another: making one asks the system for the signals. */
void fiber_main() {
  enter_fiber();
  for (;;) {
    threadIdx.x = (unsigned)current;
    (*running)();
    fibers[current].done = true;
    live--;
    if (live > 0 && waiting == live) { /* the others wait for nobody but this one */
      waiting = 0;
      generation++;
    }
    to_scheduler();
  }
}

void make_fiber(fiber *f) {
  f->stack = (char *)malloc(STACK_BYTES);
  if (!f->stack) fail("no memory for stacks");
  getcontext(&f->context);
  f->context.uc_stack.ss_sp = f->stack;
  f->context.uc_stack.ss_size = STACK_BYTES;
  f->context.uc_link = NULL;
  makecontext(&f->context, fiber_main, 0);
}

void wait_at(const unsigned *gate) {
  fibers[current].gate = gate;
  fibers[current].closed = *gate;
  to_scheduler();
}

bool can_run(const fiber &f) {
  return !f.done && !(f.gate && *f.gate == f.closed);
}

/* ---- orders ---- */

/* A way through n items that meets each once: i -> (start + i * step) mod n. */
struct way {
  long n, start, step;
  long at(long i) const { return (long)(((__int128)i * step + start) % n); }
};

long common_divisor(long a, long b) {
  while (b) {
    long rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

way draw_way(long n) {
  way w = {n, 0, 1};
  if (n < 2) return w;
  w.start = (long)(emulated_random() % (unsigned long)n);
  do w.step = 1 + (long)(emulated_random() % (unsigned long)(n - 1));
  while (common_divisor(w.step, n) != 1);
  return w;
}

/* Until none of its threads can go on. */
void run_warp(int warp, const int *lanes) {
  for (bool ran = true; ran;) {
    ran = false;
    for (int i = 0; i < LANES; i++) {
      int thread = warp * LANES + lanes[i];
      if (!can_run(fibers[thread])) continue;
      fibers[thread].gate = NULL;
      switch_to(thread);
      ran = true;
    }
  }
}

void run_block_together(int block, const std::function<void()> &body) {
  running = &body;
  waiting = 0;
  live = block;
  memset(warp_waiting, 0, sizeof warp_waiting);
  memset(exchanges, 0, sizeof exchanges);
  for (int i = 0; i < block; i++) {
    fiber *f = &fibers[i];
    if (!f->stack) make_fiber(f);
    f->done = false;
    f->gate = NULL;
  }
  int warps = block / LANES, lanes[LANES];
  way order = draw_way(LANES);
  for (int i = 0; i < LANES; i++) lanes[i] = (int)order.at(i);
  while (live > 0) { /* a warp goes ahead of the others until it has to wait for them */
    int first = (int)(emulated_random() % (unsigned)warps);
    for (int i = 0; i < warps; i++) run_warp((first + i) % warps, lanes);
  }
  current = -1;
}

/* Waits until all lanes of the warp are here. */
void meet(int warp) {
  if (++warp_waiting[warp] == LANES) {
    warp_waiting[warp] = 0;
    warp_generation[warp]++;
  } else
    wait_at(&warp_generation[warp]);
}

} // namespace

void emulated_grid(long grid, int block, bool together, const std::function<void()> &body) {
  gridDim = {(unsigned)grid, 1, 1};
  blockDim = {(unsigned)block, 1, 1};
  if (together && (block > MAX_THREADS || block % LANES))
    fail("a block must be whole warps, at most 1024 threads");
  way blocks = draw_way(grid), threads = draw_way(block);
  for (long b = 0; b < grid; b++) {
    blockIdx = {(unsigned)blocks.at(b), 0, 0};
    if (together) {
      run_block_together(block, body);
      continue;
    }
    for (int t = 0; t < block; t++) {
      threadIdx = {(unsigned)threads.at(t), 0, 0};
      body();
    }
  }
}

void __syncthreads() {
  if (current < 0) fail("__syncthreads in a kernel that was launched without TOGETHER");
  if (++waiting == live) { /* threads that have returned are not waited for, as on the device */
    waiting = 0;
    generation++;
    return;
  }
  wait_at(&generation);
}

const char (*emulated_share(const void *mine, size_t bytes))[EMULATED_LANE_BYTES] {
  if (current < 0) fail("an exchange in a kernel that was launched without TOGETHER");
  if (bytes > EMULATED_LANE_BYTES) fail("too much is exchanged at once");
  int warp = current / LANES;
  unsigned turn = exchanges[current]++ % 2;
  memcpy(lane_value[turn][current], mine, bytes);
  meet(warp);
  return &lane_value[turn][warp * LANES];
}
