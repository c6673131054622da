/* Streams, events, graphs and memory. Whatever is enqueued runs later: when somebody waits for it,
 * or at moments drawn at random, and in an order drawn among those that its dependencies allow. So
 * a buffer that is written again too early, a dependency that is missing between two branches of a
 * graph, and host code that looks into device memory all show without a GPU. */
#include "threads.h"

#include <chrono>
#include <memory>
#include <mutex>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <unordered_map>
#include <vector>

namespace {

/* Something enqueued. */
struct operation {
  std::function<void()> call;
  int waits = 0; /* for so many others */
  bool done = false;
  std::vector<std::shared_ptr<operation>> next; /* which wait for this one */
};
typedef std::shared_ptr<operation> work;

struct graph_node {
  std::function<void()> call;
  std::vector<int> after;
};

/* A capture under way, shared by the streams that take part. */
struct capture {
  cudaStream_t origin;
  std::vector<graph_node> nodes;
};

} // namespace

struct emulated_stream {
  work last;
  std::vector<work> also; /* events that the next operation waits for */
  std::shared_ptr<capture> capturing;
  std::vector<int> tail; /* nodes that the next one comes after */
};
struct emulated_graph {
  std::vector<graph_node> nodes;
};
struct emulated_event {
  work done;
  std::shared_ptr<capture> capturing;
  std::vector<int> tail;
  double at;
};

static std::recursive_mutex device_mutex; /* one call at a time; none runs beside a kernel */
#define CALL std::lock_guard<std::recursive_mutex> guard(device_mutex)

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
  CALL;                                                                                            \
  if (fails()) return failure

/* ---- what is drawn ---- */

static uint64_t random_state = 0x9E3779B97F4A7C15u;

void cuda_emulation_seed(unsigned long long seed) {
  random_state = (seed + 1) * 0x9E3779B97F4A7C15u;
}

uint64_t emulated_random() { /* xorshift64* */
  random_state ^= random_state >> 12;
  random_state ^= random_state << 25;
  random_state ^= random_state >> 27;
  return random_state * 0x2545F4914F6CDD1Du >> 11;
}

/* ---- device memory: the host cannot touch it while no operation runs ---- */

static size_t initial_memory() {
  const char *given = getenv("WEBML_EMULATED_BYTES");
  return given ? (size_t)strtoull(given, NULL, 10) : (size_t)1 << 30;
}

struct allocation {
  size_t bytes, mapped;
  char *base; /* of the mapping; NULL: memory of the heap, whose ends the sanitizer watches */
};

static size_t memory_total = initial_memory(), memory_used;
static std::unordered_map<void *, allocation> allocations;
static std::unordered_map<void *, size_t> pinned_memory;

static void open_memory(bool open) {
  for (const auto &a : allocations)
    if (a.second.base)
      mprotect(a.second.base, a.second.mapped, open ? PROT_READ | PROT_WRITE : PROT_NONE);
}

/* ---- running what is enqueued ---- */

static std::vector<work> ready; /* waits for nothing */
static long unfinished;

static work enqueue(std::function<void()> call, const std::vector<work> &after) {
  work w = std::make_shared<operation>();
  w->call = std::move(call);
  for (const work &a : after)
    if (a && !a->done) {
      a->next.push_back(w);
      w->waits++;
    }
  if (w->waits == 0) ready.push_back(w);
  unfinished++;
  return w;
}

static void run_one() {
  size_t i = emulated_random() % ready.size();
  work w = ready[i];
  ready[i] = ready.back();
  ready.pop_back();
  w->call();
  w->done = true;
  unfinished--;
  for (const work &n : w->next)
    if (--n->waits == 0) ready.push_back(n);
  w->next.clear();
  w->call = nullptr;
}

static bool eager; /* between this wait and the next */

/* Until it is done; NULL: until nothing is left. */
static void run_until(const work &target) {
  eager = emulated_random() % 2;
  if (target ? target->done : unfinished == 0) return;
  open_memory(true);
  while (target ? !target->done : unfinished > 0) run_one();
  open_memory(false);
}

/* Some of what is enqueued runs at once, if at all. */
static void perhaps_run() {
  if (!eager || emulated_random() % 8) return;
  open_memory(true);
  for (uint64_t n = emulated_random() % 8; n > 0 && !ready.empty(); n--) run_one();
  open_memory(false);
}

static emulated_stream default_stream;

static work enqueue_on(cudaStream_t stream, std::function<void()> call) {
  std::vector<work> after;
  after.swap(stream->also);
  after.push_back(stream->last);
  return stream->last = enqueue(std::move(call), after);
}

/* To the stream, or into the graph that it captures. */
static void submit(cudaStream_t stream, std::function<void()> call) {
  if (!stream) stream = &default_stream;
  if (stream->capturing) {
    std::vector<graph_node> &nodes = stream->capturing->nodes;
    nodes.push_back({std::move(call), stream->tail});
    stream->tail = {(int)nodes.size() - 1};
    return;
  }
  enqueue_on(stream, std::move(call));
  perhaps_run();
}

void emulated_launch(long grid, int block, bool together, cudaStream_t stream,
                     std::function<void()> body) {
  CALL;
  if (grid < 1 || grid > 0x7FFFFFFF || block < 1 || block > 1024) {
    fprintf(stderr, "emulated kernel: CUDA refuses a grid of %ld blocks of %d threads\n", grid,
            block);
    abort();
  }
  if (fails()) return; /* cudaGetLastError says so */
  submit(stream, [=] { emulated_grid(grid, block, together, body); });
}

/* ---- memory ---- */

/* Calls that CUDA forbids a thread that captures. */
static int captures;
#define NOT_IN_CAPTURE                                                                             \
  MAY_FAIL;                                                                                        \
  if (captures > 0) return cudaErrorStreamCaptureUnsupported

void cuda_emulation_set_memory(size_t bytes) {
  memory_total = bytes;
}

cudaError_t cudaMemGetInfo(size_t *available, size_t *total) {
  MAY_FAIL;
  *total = memory_total;
  *available = memory_total > memory_used ? memory_total - memory_used : 0;
  return cudaSuccess;
}

/* The last byte lies before a page that cannot be read, as far as an alignment of 256 allows. */
static void *map_memory(size_t bytes, allocation *a) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  a->base = NULL;
  return aligned_alloc(256, (bytes + 255) / 256 * 256);
#else
  size_t page = (size_t)sysconf(_SC_PAGESIZE), rounded = (bytes + 255) / 256 * 256;
  a->mapped = (rounded + page - 1) / page * page;
  void *base = mmap(NULL, a->mapped + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return NULL;
  a->base = (char *)base;
  mprotect(base, a->mapped, PROT_READ | PROT_WRITE);
  return a->base + a->mapped - rounded;
#endif
}

cudaError_t cudaMalloc(void **pointer, size_t bytes) {
  NOT_IN_CAPTURE;
  allocation a = {bytes, 0, NULL};
  *pointer = NULL;
  if (memory_used + bytes > memory_total) return cudaErrorMemoryAllocation;
  void *p = map_memory(bytes, &a);
  if (!p) return cudaErrorMemoryAllocation;
  memset(p, 0xFF, bytes); /* NaN: what nothing wrote shows */
  if (a.base) mprotect(a.base, a.mapped, PROT_NONE);
  allocations[p] = a;
  memory_used += bytes;
  *pointer = p;
  return cudaSuccess;
}

cudaError_t cudaFree(void *pointer) {
  CALL;
  if (!pointer) return cudaSuccess;
  auto found = allocations.find(pointer);
  if (found == allocations.end()) return cudaErrorInvalidValue;
  run_until(NULL); /* it waits for the device */
  allocation a = found->second;
  memory_used -= a.bytes;
  allocations.erase(found);
  if (a.base)
    munmap(a.base, a.mapped + (size_t)sysconf(_SC_PAGESIZE));
  else
    free(pointer);
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void **pointer, size_t bytes) {
  NOT_IN_CAPTURE;
  *pointer = malloc(bytes ? bytes : 1);
  if (!*pointer) return cudaErrorMemoryAllocation;
  pinned_memory[*pointer] = bytes;
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void *pointer) {
  CALL;
  pinned_memory.erase(pointer);
  free(pointer);
  return cudaSuccess;
}

static bool is_pinned(const void *p) {
  for (const auto &a : pinned_memory)
    if (p >= a.first && p < (char *)a.first + a.second) return true;
  return false;
}

/* From ordinary memory: its bytes are taken before the call returns. To ordinary memory: the call
 * returns when they are there. */
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  MAY_FAIL;
  if (bytes && (!to || !from)) return cudaErrorInvalidValue;
  if (kind == cudaMemcpyHostToDevice && !is_pinned(from)) {
    std::string taken((const char *)from, bytes);
    submit(stream, [=] { memcpy(to, taken.data(), bytes); });
    return cudaSuccess;
  }
  submit(stream, [=] {
    if (bytes) memcpy(to, from, bytes);
  });
  if (kind == cudaMemcpyDeviceToHost && !is_pinned(to) && !stream->capturing)
    run_until(stream->last);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream) {
  MAY_FAIL;
  submit(stream, [=] { memset(to, value, bytes); });
  return cudaSuccess;
}

/* ---- streams ---- */

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
  MAY_FAIL;
  *least = 0, *greatest = -5;
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned, int) {
  MAY_FAIL;
  *stream = new emulated_stream{};
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  CALL;
  if (stream && stream->capturing && stream->capturing->origin == stream) captures--;
  delete stream; /* what it has enqueued runs all the same */
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  NOT_IN_CAPTURE;
  if (stream->last) run_until(stream->last);
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  MAY_FAIL;
  if (stream->capturing) return cudaErrorInvalidValue;
  stream->capturing = std::make_shared<capture>();
  stream->capturing->origin = stream;
  stream->tail.clear();
  captures++;
  return cudaSuccess;
}

/* Whether everything that was captured is before the end of the stream that began. */
static bool is_joined(const capture &c, const std::vector<int> &tail) {
  std::vector<bool> reached(c.nodes.size());
  for (int t : tail) reached[(size_t)t] = true;
  for (size_t i = c.nodes.size(); i-- > 0;)
    if (reached[i])
      for (int a : c.nodes[i].after) reached[(size_t)a] = true;
  for (bool r : reached)
    if (!r) return false;
  return true;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
  CALL;
  *graph = NULL;
  if (!stream->capturing || stream->capturing->origin != stream) return cudaErrorInvalidValue;
  std::shared_ptr<capture> c = stream->capturing;
  stream->capturing = nullptr;
  c->origin = NULL; /* other streams of it see that it has ended */
  captures--;
  if (fails()) return failure; /* an invalid capture ends all the same */
  if (!is_joined(*c, stream->tail)) return cudaErrorStreamCaptureUnjoined;
  *graph = new emulated_graph{std::move(c->nodes)};
  return cudaSuccess;
}

/* ---- graphs ---- */

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long) {
  MAY_FAIL;
  *exec = new emulated_graph{graph->nodes};
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  MAY_FAIL;
  if (stream->capturing) return cudaErrorStreamCaptureUnsupported;
  std::vector<work> made, leaves;
  std::vector<bool> inner(exec->nodes.size());
  work begin = enqueue_on(stream, [] {});
  for (const graph_node &n : exec->nodes) {
    std::vector<work> after = {begin};
    for (int a : n.after) {
      after.push_back(made[(size_t)a]);
      inner[(size_t)a] = true;
    }
    made.push_back(enqueue(n.call, after));
  }
  leaves.push_back(begin);
  for (size_t i = 0; i < made.size(); i++)
    if (!inner[i]) leaves.push_back(made[i]);
  stream->last = enqueue([] {}, leaves);
  perhaps_run();
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

/* ---- events ---- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
  MAY_FAIL;
  *event = new emulated_event{};
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  CALL;
  if (event) run_until(event->done); /* its time is still to be written */
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  using namespace std::chrono;
  MAY_FAIL;
  event->done = nullptr;
  event->capturing = stream->capturing;
  event->tail = stream->tail;
  if (stream->capturing) return cudaSuccess;
  event->done = enqueue_on(stream, [=] {
    event->at = duration<double, std::milli>(steady_clock::now().time_since_epoch()).count();
  });
  return cudaSuccess;
}

/* A stream that waits for an event of a capture joins it. */
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  MAY_FAIL;
  bool joined = stream->capturing && stream->capturing->origin;
  if (!event->capturing || !event->capturing->origin) {
    if (joined) return cudaErrorStreamCaptureIsolation;
    stream->also.push_back(event->done);
    return cudaSuccess;
  }
  if (joined && stream->capturing != event->capturing) return cudaErrorStreamCaptureIsolation;
  if (!joined) stream->tail.clear();
  stream->capturing = event->capturing;
  stream->tail.insert(stream->tail.end(), event->tail.begin(), event->tail.end());
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  NOT_IN_CAPTURE;
  if (event->capturing) return cudaErrorInvalidValue;
  if (event->done) run_until(event->done);
  return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to) {
  MAY_FAIL;
  if (!from->done || !to->done || !from->done->done || !to->done->done)
    return cudaErrorInvalidValue;
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
  case cudaErrorStreamCaptureUnsupported: return "operation not permitted when stream is capturing";
  case cudaErrorStreamCaptureUnjoined: return "capturing stream has unjoined work";
  case cudaErrorStreamCaptureIsolation:
    return "dependency created on uncaptured work in another stream";
  default: return "invalid argument";
  }
}
