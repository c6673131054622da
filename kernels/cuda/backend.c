/* The module's table, devices and the store. */
#include "cuda.h"
#include "vendor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODULE __attribute__((visibility("default")))

/* ---- errors ---- */

/* Errors after which the context of the process is lost: everything later fails with the same. */
static bool is_sticky(cudaError_t error) {
  switch ((int)error) {
  case 2:   /* memory allocation */
  case 1:   /* invalid value */
  case 101: /* invalid device */
  case 35:  /* insufficient driver */
  case 100: /* no device */
  case 34:  /* stub library */
  case 801: /* not supported */
  case 600: /* not ready */ return false;
  default: return true;
  }
}

wml_result cuda_check(wml_device *device, cudaError_t error, const char *call) {
  if (error == cudaSuccess) return WML_OK;
  (void)cudaGetLastError(); /* what is not sticky must not be found by the next call */
  int length = (int)strcspn(call, "(");
  device->host.error("cuda:%d: %.*s: %s (CUDA error %d)", device->index, length, call,
                     cudaGetErrorString(error), (int)error);
  if (error == cudaErrorMemoryAllocation) return WML_OUT_OF_MEMORY;
  if (is_sticky(error)) {
    pthread_mutex_lock(&device->mutex);
    if (!device->failed[0])
      snprintf(device->failed, sizeof device->failed, "%.*s: %s", length, call,
               cudaGetErrorString(error));
    pthread_mutex_unlock(&device->mutex);
  }
  return WML_DEVICE_FAILED;
}

/* Before anything on the device: makes it the thread's, and refuses when it is lost. */
static wml_result enter(wml_device *device) {
  if (device->planning) {
    device->host.error("this device plans only: there is no GPU behind it");
    return WML_UNSUPPORTED;
  }
  pthread_mutex_lock(&device->mutex);
  bool failed = device->failed[0] != '\0';
  pthread_mutex_unlock(&device->mutex);
  if (failed) {
    device->host.error(
        "cuda:%d failed before (%s) and takes no more calls; start the program again",
        device->index, device->failed);
    return WML_DEVICE_FAILED;
  }
  CUDA_TRY(device, cudaSetDevice(device->index));
  return WML_OK;
}

void *cuda_take(const wml_device *device, size_t n, size_t size) {
  return wml_take(&device->host, n, size);
}

wml_result cuda_allocate(wml_device *device, size_t bytes, void **pointer) {
  size_t available = 0, total = 0;
  *pointer = NULL;
  cudaError_t error = cudaMalloc(pointer, bytes ? bytes : 1);
  if (error != cudaErrorMemoryAllocation) return cuda_check(device, error, "cudaMalloc");
  (void)cudaGetLastError();
  (void)cudaMemGetInfo(&available, &total);
  device->host.error("cuda:%d has no room for %.0f MB: %.0f of %.0f MB are free", device->index,
                     (double)bytes / 1e6, (double)available / 1e6, (double)total / 1e6);
  return WML_OUT_OF_MEMORY;
}

/* ---- devices ---- */

static wml_result count_devices(const wml_host *host, int *count) {
  cudaError_t error = cudaGetDeviceCount(count);
  if (error == cudaSuccess && *count > 0) return WML_OK;
  (void)cudaGetLastError();
  if (error == cudaErrorInsufficientDriver || error == cudaErrorStubLibrary)
    host->error("no NVIDIA driver, or one that is older than CUDA 13 (the driver's version must be "
                "580 or newer)");
  else if (error == cudaErrorNoDevice || error == cudaSuccess)
    host->error("the NVIDIA driver reports no GPU");
  else
    host->error("cudaGetDeviceCount: %s (CUDA error %d)", cudaGetErrorString(error), (int)error);
  return WML_UNSUPPORTED;
}

static void write_uuid(const cudaUUID_t *uuid, char *out, size_t size) {
  size_t at = (size_t)snprintf(out, size, "GPU-");
  for (int i = 0; i < 16 && at + 4 < size; i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10) out[at++] = '-';
    at += (size_t)snprintf(out + at, size - at, "%02x", (unsigned)(unsigned char)uuid->bytes[i]);
  }
}

static wml_result module_enumerate(const wml_host *host, wml_device_info *list, int capacity,
                                   int *count) {
  *count = 0;
  wml_result result = count_devices(host, count);
  for (int i = 0; i < *count && i < capacity && result == WML_OK; i++) {
    wml_device_info *d = &list[i];
    struct cudaDeviceProp prop;
    memset(d, 0, sizeof *d);
    if (cudaGetDeviceProperties(&prop, i) != cudaSuccess) {
      (void)cudaGetLastError();
      snprintf(d->description, sizeof d->description, "a GPU that does not answer");
    } else {
      snprintf(d->description, sizeof d->description, "%.100s", prop.name);
      write_uuid(&prop.uuid, d->uuid, sizeof d->uuid);
      d->total = prop.totalGlobalMem;
      d->compute_capability[0] = prop.major, d->compute_capability[1] = prop.minor;
      d->bfloat16 = prop.major >= 8;
      d->multiprocessors = prop.multiProcessorCount;
      size_t total;
      if (cudaSetDevice(i) != cudaSuccess || cudaMemGetInfo(&d->available, &total) != cudaSuccess)
        (void)cudaGetLastError(), d->available = 0;
    }
    snprintf(d->name, sizeof d->name, "cuda:%d", i);
  }
  return result;
}

static void module_close(wml_device *device) {
  if (!device) return;
  cuda_dnn_close(device, device->dnn);
  cuda_blas_close(device, device->blas);
  pthread_mutex_destroy(&device->mutex);
  device->host.release(device);
}

/* What measurements on a card want to vary. */
static int64_t setting(const char *name, int64_t otherwise) {
  const char *given = getenv(name);
  long long value = given ? strtoll(given, NULL, 10) : -1;
  return value >= 0 ? value : otherwise;
}

static wml_device *new_device(const wml_host *host, int index) {
  wml_device *device = host->alloc(sizeof *device, 64);
  if (!device) {
    host->error("out of memory for a device");
    return NULL;
  }
  memset(device, 0, sizeof *device);
  device->host = *host;
  device->index = index;
  device->profile = getenv("WEBML_CUDA_PROFILE") != NULL;
  device->branch_elements = setting("WEBML_CUDA_BRANCH_ELEMENTS", 1 << 20);
  device->asides = setting("WEBML_CUDA_ASIDES", 1) != 0;
  device->graph_steps = setting("WEBML_CUDA_GRAPH_STEPS", 8) / 2 * 2;
  pthread_mutex_init(&device->mutex, NULL);
  return device;
}

/* A library that is not there is no error: own kernels do its work; the identity says so. */
static wml_result open_vendors(wml_device *device, const char *description) {
  wml_result result = cuda_dnn_open(device, description, &device->dnn);
  if (result == WML_OK) result = cuda_blas_open(device, &device->blas);
  return result;
}

static wml_result open_index(wml_device *device) {
  struct cudaDeviceProp prop;
  int runtime = 0, count = 0;
  wml_result result = count_devices(&device->host, &count);
  if (result != WML_OK) return result;
  if (device->index < 0 || device->index >= count) {
    device->host.error("there is no cuda:%d; this machine has %d GPU%s", device->index, count,
                       count == 1 ? "" : "s");
    return WML_UNSUPPORTED;
  }
  CUDA_TRY(device, cudaSetDevice(device->index));
  CUDA_TRY(device, cudaGetDeviceProperties(&prop, device->index));
  CUDA_TRY(device, cudaRuntimeGetVersion(&runtime));
  device->capability = prop.major * 10 + prop.minor;
  device->multiprocessors = prop.multiProcessorCount;
  device->memory = prop.totalGlobalMem;
  result = open_vendors(device, NULL);
  snprintf(device->identity, sizeof device->identity, "cuda %d.%d %.60s sm_%d, %s, %s",
           runtime / 1000, runtime % 1000 / 10, prop.name, device->capability,
           cuda_dnn_version(device->dnn), cuda_blas_version(device->blas));
  return result;
}

/* One file per card and versions of the libraries. */
static void name_tuning_file(wml_device *device, const char *folder) {
  uint64_t hash = 14695981039346656037u; /* FNV-1a */
  for (const char *c = device->identity; *c; c++)
    hash = (hash ^ (unsigned char)*c) * 1099511628211u;
  int n = folder ? snprintf(device->tuning_file, sizeof device->tuning_file, "%s/cuda-%016llx.txt",
                            folder, (unsigned long long)hash)
                 : 0;
  if (n < 0 || n >= (int)sizeof device->tuning_file) device->tuning_file[0] = '\0';
}

static wml_result module_open(const wml_host *host, const wml_device_config *config,
                              wml_device **out) {
  wml_device *device = new_device(host, config->index);
  if (!device) return WML_OUT_OF_MEMORY;
  wml_result result = open_index(device);
  name_tuning_file(device, config->cache_folder);
  if (result == WML_OK)
    *out = device;
  else
    module_close(device);
  return result;
}

wml_result cuda_open_planning(const wml_host *host, const char *description, wml_device **out) {
  wml_device *device = new_device(host, 0);
  if (!device) return WML_OUT_OF_MEMORY;
  device->planning = true;
  device->capability = 90;
  device->multiprocessors = 132;
  device->memory = (size_t)141 << 30;
  wml_result result = open_vendors(device, description);
  if (result == WML_OK && !device->dnn) {
    host->error("planning needs cuDNN");
    result = WML_UNSUPPORTED;
  }
  if (result == WML_OK)
    *out = device;
  else
    module_close(device);
  return result;
}

static const char *module_identity(const wml_device *device) {
  return device->identity;
}

static size_t module_available(wml_device *device) {
  size_t available = 0, total = 0;
  if (enter(device) != WML_OK) return 0;
  return cudaMemGetInfo(&available, &total) == cudaSuccess ? available : 0;
}

/* ---- the store ---- */

cuda_entry *cuda_entry_create(const wml_device *device, const wml_tensor *t) {
  size_t length = strlen(t->name) + 1;
  cuda_entry *e = cuda_take(device, 1, sizeof *e);
  char *name = e ? cuda_take(device, 1, length) : NULL;
  if (!name) {
    device->host.release(e);
    return NULL;
  }
  memcpy(name, t->name, length);
  e->name = name;
  e->elements = wml_elements(t);
  e->weight = t->role == WML_ROLE_PARAM;
  return e;
}

static wml_result module_store_create(wml_device *device, wml_store **out) {
  wml_store *store = cuda_take(device, 1, sizeof *store);
  if (!store) return WML_OUT_OF_MEMORY;
  store->device = device;
  wml_result result = device->planning ? WML_OK : enter(device);
  if (result == WML_OK && !device->planning) result = cuda_new_stream(device, true, &store->stream);
  if (result == WML_OK)
    *out = store;
  else
    device->host.release(store);
  return result;
}

static void module_store_destroy(wml_store *store) {
  if (!store) return;
  wml_device *device = store->device;
  const wml_host *host = &device->host;
  if (!device->planning) (void)cudaSetDevice(device->index);
  if (store->stream) {
    (void)cudaStreamSynchronize(store->stream);
    (void)cudaStreamDestroy(store->stream);
  }
  for (cuda_entry *e = store->entries, *next; e; e = next) {
    next = e->next;
    host->release(e->name);
    host->release(e);
  }
  for (cuda_block *b = store->blocks, *next; b; b = next) {
    next = b->next;
    (void)cudaFree(b->data);
    host->release(b);
  }
  for (cuda_resident *r = store->residents, *next; r; r = next) {
    next = r->next;
    (void)cudaFree(r->data);
    host->release(r);
  }
  host->release(store);
}

wml_result cuda_new_stream(wml_device *device, bool urgent, cudaStream_t *stream) {
  int least = 0, greatest = 0;
  CUDA_TRY(device, cudaDeviceGetStreamPriorityRange(&least, &greatest));
  CUDA_TRY(device,
           cudaStreamCreateWithPriority(stream, cudaStreamNonBlocking, urgent ? greatest : least));
  return WML_OK;
}

wml_result cuda_new_event(wml_device *device, cudaEvent_t *event) {
  CUDA_TRY(device, cudaEventCreateWithFlags(event, cudaEventDisableTiming));
  return WML_OK;
}

wml_result cuda_store_block(wml_store *store, size_t bytes, void **data) {
  wml_device *device = store->device;
  cuda_block *block = cuda_take(device, 1, sizeof *block);
  if (!block) return WML_OUT_OF_MEMORY;
  wml_result result = cuda_allocate(device, bytes, &block->data);
  if (result == WML_OK)
    result = cuda_check(device, cudaMemsetAsync(block->data, 0, bytes, store->stream),
                        "cudaMemsetAsync");
  if (result != WML_OK) {
    (void)cudaFree(block->data);
    device->host.release(block);
    return result;
  }
  block->next = store->blocks;
  store->blocks = block;
  *data = block->data;
  return WML_OK;
}

static cuda_entry *usable_entry(wml_store *store, const char *name) {
  for (cuda_entry *e = store->entries; e; e = e->next)
    if (strcmp(e->name, name) == 0 && e->data[0]) return e;
  store->device->host.error("the store has no tensor named %s", name);
  return NULL;
}

/* [kh, kw, c, f] and [f, kh, kw, c] */
static void transpose(const cuda_entry *e, const float *from, float *to, bool to_own) {
  int64_t places = e->kernel[0] * e->kernel[1] * e->kernel[2], filters = e->kernel[3];
  for (int64_t f = 0; f < filters; f++)
    for (int64_t p = 0; p < places; p++)
      if (to_own)
        to[f * places + p] = from[p * filters + f];
      else
        to[p * filters + f] = from[f * places + p];
}

static wml_result copy_in(wml_store *store, cuda_entry *e, const float *host) {
  wml_device *device = store->device;
  CUDA_TRY(device, cudaMemcpyAsync(e->data[0], host, (size_t)e->elements * sizeof *host,
                                   cudaMemcpyHostToDevice, store->stream));
  if (e->half[0]) {
    cuda_view from = {e->data[0], CUDA_F32_T}, to = {e->half[0], CUDA_BF16_T};
    cuda_convert(store->stream, from, to, e->elements);
    CUDA_TRY(device, cudaGetLastError());
  }
  CUDA_TRY(device, cudaStreamSynchronize(store->stream));
  return WML_OK;
}

static wml_result module_put(wml_store *store, const char *name, const float *host) {
  wml_device *device = store->device;
  wml_result result = enter(device);
  cuda_entry *e = usable_entry(store, name);
  if (result != WML_OK || !e) return result != WML_OK ? result : WML_INVALID;
  if (!e->kernel[0]) return copy_in(store, e, host);
  float *own = cuda_take(device, (size_t)e->elements, sizeof *own);
  if (!own) return WML_OUT_OF_MEMORY;
  transpose(e, host, own, true);
  result = copy_in(store, e, own);
  device->host.release(own);
  return result;
}

static wml_result copy_out(wml_store *store, const cuda_entry *e, float *host) {
  CUDA_TRY(store->device, cudaMemcpyAsync(host, e->data[0], (size_t)e->elements * sizeof *host,
                                          cudaMemcpyDeviceToHost, store->stream));
  CUDA_TRY(store->device, cudaStreamSynchronize(store->stream));
  return WML_OK;
}

static wml_result module_get(wml_store *store, const char *name, float *host) {
  wml_device *device = store->device;
  wml_result result = enter(device);
  cuda_entry *e = usable_entry(store, name);
  if (result != WML_OK || !e) return result != WML_OK ? result : WML_INVALID;
  if (!e->kernel[0]) return copy_out(store, e, host);
  float *own = cuda_take(device, (size_t)e->elements, sizeof *own);
  if (!own) return WML_OUT_OF_MEMORY;
  result = copy_out(store, e, own);
  if (result == WML_OK) transpose(e, own, host, false);
  device->host.release(own);
  return result;
}

/* ---- plans ---- */

static wml_result module_compile(wml_store *store, const wml_graph *graph, wml_plan **plan) {
  wml_result result = store->device->planning ? WML_OK : enter(store->device);
  return result == WML_OK ? cuda_plan_create(store, graph, plan) : result;
}

static wml_result module_prepare(wml_plan *plan) {
  wml_result result = enter(plan->device);
  return result == WML_OK ? cuda_plan_prepare(plan) : result;
}

static wml_result module_run(wml_plan *plan, wml_run *run) {
  wml_result result = enter(plan->device);
  return result == WML_OK ? cuda_plan_run(plan, run) : result;
}

/* Every run ends with the outputs in pinned memory. */
static wml_result module_read(wml_plan *plan, int tensor, float *host) {
  const cuda_tensor *t = &plan->tensors[tensor];
  if (!t->host) {
    plan->device->host.error("tensor %d is not an output of this plan", tensor);
    return WML_INVALID;
  }
  memcpy(host, t->host, (size_t)wml_elements(&t->info) * sizeof *host);
  return WML_OK;
}

static const char *module_implementation(const wml_plan *plan, int node) {
  return node < plan->n_nodes ? plan->nodes[node].name : NULL;
}

static void module_plan_destroy(wml_plan *plan) {
  if (plan && !plan->device->planning) (void)cudaSetDevice(plan->device->index);
  cuda_plan_destroy(plan);
}

MODULE const wml_backend *wml_backend_module(uint32_t version);
const wml_backend *wml_backend_module(uint32_t version) {
  static const wml_backend table = {
      .version = WML_BACKEND_VERSION,
      .name = "cuda",
      .enumerate = module_enumerate,
      .open = module_open,
      .close = module_close,
      .identity = module_identity,
      .available = module_available,
      .store_create = module_store_create,
      .store_destroy = module_store_destroy,
      .put = module_put,
      .get = module_get,
      .compile = module_compile,
      .memory = cuda_plan_memory,
      .feed_memory = cuda_feed_memory,
      .prepare = module_prepare,
      .run = module_run,
      .read = module_read,
      .implementation = module_implementation,
      .plan_destroy = module_plan_destroy,
  };
  return version == WML_BACKEND_VERSION ? &table : NULL;
}
