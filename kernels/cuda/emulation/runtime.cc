#include "threads.h"

#include <chrono>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <string>
#include <ucontext.h>
#include <unordered_map>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

typedef std::vector<std::function<void()>> calls;

struct emulated_stream {
  calls *recording;
};
struct emulated_graph {
  calls list;
};
struct emulated_event {
  double at;
};

/* ---- failures on demand ---- */

static long calls_made, failing_call;
static cudaError_t failure, last_error;

long cuda_emulation_fail(long n, cudaError_t error) {
  long made = calls_made;
  calls_made = 0;
  failing_call = n;
  failure = error;
  last_error = cudaSuccess;
  return made;
}

static bool fails() {
  if (++calls_made != failing_call) return false;
  last_error = failure;
  return true;
}

#define MAY_FAIL                                                                                   \
  if (fails()) return failure

/* ---- threads of a block ---- */

emulated_index threadIdx, blockIdx, blockDim, gridDim;

namespace {

enum { STACK_BYTES = 128 << 10, MAX_THREADS = 1024, LANES = 32 };

struct fiber {
  ucontext_t context;
  jmp_buf place; /* where it goes on */
  bool started;
  char *stack;
  bool done;
};

fiber fibers[MAX_THREADS];
int current = -1; /* thread of the block, -1: threads run one after another */
int waiting, live;
unsigned generation;
unsigned warp_generation[MAX_THREADS / LANES];
int warp_waiting[MAX_THREADS / LANES];
double lane_value[MAX_THREADS];
const std::function<void()> *running;

void fail(const char *why) {
  fprintf(stderr, "emulated kernel: %s\n", why);
  abort();
}

#if defined(__SANITIZE_ADDRESS__)
ucontext_t scheduler;
void *scheduler_fake;
const void *scheduler_stack;
size_t scheduler_size;

void to_scheduler(bool last) {
  int self = current;
  void *fake = NULL;
  __sanitizer_start_switch_fiber(last ? NULL : &fake, scheduler_stack, scheduler_size);
  swapcontext(&fibers[self].context, &scheduler);
  __sanitizer_finish_switch_fiber(fake, &scheduler_stack, &scheduler_size);
  threadIdx.x = (unsigned)self;
}

void enter_fiber() {
  __sanitizer_finish_switch_fiber(NULL, &scheduler_stack, &scheduler_size);
}

void switch_to(int i) {
  current = i;
  __sanitizer_start_switch_fiber(&scheduler_fake, fibers[i].stack, STACK_BYTES);
  swapcontext(&scheduler, &fibers[i].context);
  __sanitizer_finish_switch_fiber(scheduler_fake, NULL, NULL);
}
#else /* swapcontext asks the system for the signals each time; jumps do not */
jmp_buf scheduler_place;

void to_scheduler(bool) {
  int self = current;
  if (_setjmp(fibers[self].place) == 0) _longjmp(scheduler_place, 1);
  threadIdx.x = (unsigned)self;
}

void enter_fiber() {}

void switch_to(int i) {
  current = i;
  if (_setjmp(scheduler_place)) return;
  if (fibers[i].started) _longjmp(fibers[i].place, 1);
  fibers[i].started = true;
  setcontext(&fibers[i].context);
}
#endif

void fiber_main() {
  enter_fiber();
  threadIdx.x = (unsigned)current;
  (*running)();
  fibers[current].done = true;
  live--;
  if (live > 0 && waiting == live) { /* the others wait for nobody but this one */
    waiting = 0;
    generation++;
  }
  to_scheduler(true);
}

void run_block_together(int block, const std::function<void()> &body) {
  if (block > MAX_THREADS || block % LANES)
    fail("a block must be whole warps, at most 1024 threads");
  running = &body;
  waiting = 0;
  live = block;
  memset(warp_waiting, 0, sizeof warp_waiting);
  for (int i = 0; i < block; i++) {
    fiber *f = &fibers[i];
    if (!f->stack) f->stack = (char *)malloc(STACK_BYTES);
    if (!f->stack) fail("no memory for stacks");
    f->done = f->started = false;
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = STACK_BYTES;
    f->context.uc_link = NULL;
    makecontext(&f->context, fiber_main, 0);
  }
  for (int rounds = 0; live > 0; rounds++)
    for (int i = 0; i < block; i++)
      if (!fibers[i].done) switch_to(i);
  current = -1;
}

void run_grid(long grid, int block, bool together, const std::function<void()> &body) {
  gridDim = {(unsigned)grid, 1, 1};
  blockDim = {(unsigned)block, 1, 1};
  for (long b = 0; b < grid; b++) {
    blockIdx = {(unsigned)b, 0, 0};
    if (together) {
      run_block_together(block, body);
      continue;
    }
    for (int t = 0; t < block; t++) {
      threadIdx = {(unsigned)t, 0, 0};
      body();
    }
  }
}

} // namespace

void __syncthreads() {
  if (current < 0) fail("__syncthreads in a kernel that was launched without TOGETHER");
  unsigned mine = generation;
  if (++waiting == live) { /* threads that have returned are not waited for, as on the device */
    waiting = 0;
    generation++;
    return;
  }
  while (generation == mine) to_scheduler(false);
}

double emulated_exchange(double value, int mask) {
  if (current < 0) fail("an exchange in a kernel that was launched without TOGETHER");
  int self = current, warp = self / LANES;
  for (int phase = 0; phase < 2; phase++) { /* all have written; all have read */
    if (phase == 0) lane_value[self] = value;
    double got = phase == 1 ? lane_value[self ^ mask] : 0.0;
    unsigned mine = warp_generation[warp];
    if (++warp_waiting[warp] == LANES) {
      warp_waiting[warp] = 0;
      warp_generation[warp]++;
    } else
      while (warp_generation[warp] == mine) to_scheduler(false);
    if (phase == 1) return got;
  }
  return 0.0;
}

void emulated_launch(long grid, int block, bool together, cudaStream_t stream,
                     std::function<void()> body) {
  if (grid < 1) fail("an empty grid: CUDA refuses it");
  if (fails()) return; /* cudaGetLastError says so */
  auto call = [=] { run_grid(grid, block, together, body); };
  if (stream && stream->recording)
    stream->recording->push_back(call);
  else
    call();
}

/* ---- memory ---- */

static size_t initial_memory() {
  const char *given = getenv("WEBML_EMULATED_BYTES");
  return given ? (size_t)strtoull(given, NULL, 10) : (size_t)1 << 30;
}

static size_t memory_total = initial_memory(), memory_used;
static std::unordered_map<void *, size_t> allocations;

void cuda_emulation_set_memory(size_t bytes) {
  memory_total = bytes;
}

cudaError_t cudaMemGetInfo(size_t *available, size_t *total) {
  MAY_FAIL;
  *total = memory_total;
  *available = memory_total > memory_used ? memory_total - memory_used : 0;
  return cudaSuccess;
}

cudaError_t cudaMalloc(void **pointer, size_t bytes) {
  MAY_FAIL;
  *pointer = NULL;
  if (memory_used + bytes > memory_total) return cudaErrorMemoryAllocation;
  void *p = aligned_alloc(256, (bytes + 511) / 256 * 256);
  if (!p) return cudaErrorMemoryAllocation;
  memset(p, 0xFF, bytes); /* NaN: what nothing wrote shows */
  allocations[p] = bytes;
  memory_used += bytes;
  *pointer = p;
  return cudaSuccess;
}

cudaError_t cudaFree(void *pointer) {
  if (!pointer) return cudaSuccess;
  auto found = allocations.find(pointer);
  if (found == allocations.end()) return cudaErrorInvalidValue;
  memory_used -= found->second;
  allocations.erase(found);
  free(pointer);
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void **pointer, size_t bytes) {
  MAY_FAIL;
  *pointer = malloc(bytes ? bytes : 1);
  return *pointer ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFreeHost(void *pointer) {
  free(pointer);
  return cudaSuccess;
}

static void now_or_later(cudaStream_t stream, std::function<void()> call) {
  if (stream && stream->recording)
    stream->recording->push_back(call);
  else
    call();
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
  MAY_FAIL;
  if (bytes && (!to || !from)) return cudaErrorInvalidValue;
  now_or_later(stream, [=] {
    if (bytes) memcpy(to, from, bytes);
  });
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream) {
  MAY_FAIL;
  now_or_later(stream, [=] { memset(to, value, bytes); });
  return cudaSuccess;
}

/* ---- streams, graphs, events ---- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
  MAY_FAIL;
  *stream = new emulated_stream{NULL};
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (stream) delete stream->recording;
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  MAY_FAIL;
  return stream->recording ? cudaErrorInvalidValue : cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  MAY_FAIL;
  if (stream->recording) return cudaErrorInvalidValue;
  stream->recording = new calls;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
  if (!stream->recording) return cudaErrorInvalidValue;
  if (fails()) { /* an invalid capture ends all the same */
    delete stream->recording;
    stream->recording = NULL;
    *graph = NULL;
    return failure;
  }
  *graph = new emulated_graph{*stream->recording};
  delete stream->recording;
  stream->recording = NULL;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long) {
  MAY_FAIL;
  *exec = new emulated_graph{graph->list};
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t) {
  MAY_FAIL;
  for (const auto &call : exec->list) call();
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
  MAY_FAIL;
  *event = new emulated_event{0.0};
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  MAY_FAIL;
  using namespace std::chrono;
  event->at = duration<double, std::milli>(steady_clock::now().time_since_epoch()).count();
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t) {
  MAY_FAIL;
  return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to) {
  MAY_FAIL;
  *milliseconds = (float)(to->at - from->at);
  return cudaSuccess;
}

/* ---- the device ---- */

cudaError_t cudaGetDeviceCount(int *count) {
  MAY_FAIL;
  *count = 1;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  MAY_FAIL;
  return device == 0 ? cudaSuccess : cudaErrorInvalidDevice;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *prop, int device) {
  MAY_FAIL;
  if (device != 0) return cudaErrorInvalidDevice;
  memset(prop, 0, sizeof *prop);
  snprintf(prop->name, sizeof prop->name, "emulated");
  prop->totalGlobalMem = memory_total;
  prop->major = 9;
  prop->multiProcessorCount = 4;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) {
  MAY_FAIL;
  *version = 0;
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version) {
  *version = 0;
  return cudaSuccess;
}

cudaError_t cudaGetLastError(void) {
  cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}

const char *cudaGetErrorString(cudaError_t error) {
  switch (error) {
  case cudaSuccess: return "no error";
  case cudaErrorMemoryAllocation: return "out of memory";
  case cudaErrorInvalidDevice: return "invalid device ordinal";
  case cudaErrorIllegalAddress: return "an illegal memory access was encountered";
  default: return "invalid argument";
  }
}
