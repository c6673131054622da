#include "devices/device.h"

#include "base/alloc.h"
#include "base/cachefile.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MAX_GPUS = 64 };

/* ---- memory ---- */

size_t wml_host_available(void) {
  size_t kilobytes = 0, bytes = SIZE_MAX;
  char line[128];
  FILE *f = fopen("/proc/meminfo", "r");
  while (f && fgets(line, sizeof line, f))
    if (sscanf(line, "MemAvailable: %zu kB", &kilobytes) == 1) bytes = kilobytes * 1024;
  if (f) fclose(f);
  struct rlimit limit;
  if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
      limit.rlim_cur < bytes)
    bytes = limit.rlim_cur;
  return bytes;
}

bool wml_device_shares_memory(const webml_device *d) {
  return !d->backend->available;
}

size_t wml_device_available(const webml_device *d) {
  return wml_device_shares_memory(d) ? wml_host_available() : d->backend->available(d->handle);
}

/* ---- which device ---- */

/* The GPUs of this machine. None: *count is 0 and webml_last_error() says why. */
static const wml_backend *list_gpus(wml_device_info list[MAX_GPUS], int *count) {
  const char *reason;
  const wml_backend *cuda = wml_cuda_backend(&reason);
  *count = 0;
  if (!cuda)
    wml_fail(WEBML_ERROR_UNSUPPORTED, "%s", reason);
  else if (cuda->enumerate(&wml_library_host, list, MAX_GPUS, count) != WML_OK)
    *count = 0;
  if (*count > MAX_GPUS) *count = MAX_GPUS;
  return cuda;
}

/* By name or UUID; "cuda" and "auto" take the GPU with the most free memory. -1: none is meant. */
static int pick_gpu(const wml_device_info *list, int count, const char *name) {
  int best = count ? 0 : -1;
  for (int i = 0; i < count; i++) {
    if (strcmp(list[i].name, name) == 0 || (list[i].uuid[0] && strcmp(list[i].uuid, name) == 0))
      return i;
    if (list[i].available > list[best].available) best = i;
  }
  return strcmp(name, "cuda") == 0 || strcmp(name, "auto") == 0 ? best : -1;
}

static webml_status open_backend(const wml_backend *backend, const wml_device_info *info,
                                 wml_device_config config, webml_device **out) {
  webml_device *d = wml_calloc(1, sizeof *d);
  if (!d) return wml_no_memory(sizeof *d, "a device");
  d->backend = backend;
  snprintf(d->name, sizeof d->name, "%.15s", info->name);
  d->bfloat16 = info->bfloat16;
  memcpy(d->compute_capability, info->compute_capability, sizeof d->compute_capability);
  webml_status status = wml_from_result(backend->open(&wml_library_host, &config, &d->handle));
  pthread_mutex_init(&d->speed_mutex, NULL);
  if (status == WEBML_OK)
    *out = d;
  else
    wml_free(d);
  return status;
}

/* A back end that has one device, which every machine has. */
static webml_status open_only(const wml_backend *backend, int threads, webml_device **out) {
  wml_device_info info;
  wml_device_config config = {.threads = threads};
  int count;
  WML_TRY(wml_from_result(backend->enumerate(&wml_library_host, &info, 1, &count)));
  return open_backend(backend, &info, config, out);
}

static webml_status open_gpu(const char *name, webml_device **out) {
  wml_device_info list[MAX_GPUS];
  int count = 0;
  const wml_backend *cuda = list_gpus(list, &count);
  if (count == 0) return wml_prefix(WEBML_ERROR_UNSUPPORTED, "device %s cannot be opened", name);
  int which = pick_gpu(list, count, name);
  if (which < 0)
    return wml_fail(WEBML_ERROR_ARGUMENT, "there is no device \"%s\"; this machine has %s%s", name,
                    count > 1 ? "cuda:0 and following, up to " : "", list[count - 1].name);
  char *folder = NULL;
  WML_TRY(wml_cache_folder(NULL, &folder));
  wml_device_config config = {.index = which, .cache_folder = folder};
  webml_status status = open_backend(cuda, &list[which], config, out);
  wml_free(folder);
  return status;
}

webml_status webml_device_open(const char *name, int threads, webml_device **out) {
  if (!out) return wml_fail(WEBML_ERROR_ARGUMENT, "webml_device_open: device must not be NULL");
  if (threads < 0 || threads > 1024)
    return wml_fail(WEBML_ERROR_ARGUMENT, "%d threads are out of range; 0 stands for all cores",
                    threads);
  if (!name) name = "auto";
  if (strcmp(name, "auto") == 0) {
    wml_device_info list[MAX_GPUS];
    int count = 0;
    list_gpus(list, &count);
    if (count) return open_gpu("auto", out);
    wml_clear_error();
    name = "cpu";
  }
  if (strncmp(name, "cuda", 4) == 0 || strncmp(name, "GPU-", 4) == 0) return open_gpu(name, out);
  if (strcmp(name, "cpu") == 0) return open_only(&wml_backend_cpu, threads, out);
  if (strcmp(name, "ref") == 0) return open_only(&wml_backend_ref, threads, out);
  return wml_fail(WEBML_ERROR_ARGUMENT, "unknown device \"%s\"; use auto, cpu, cuda:N or a UUID",
                  name);
}

void webml_device_destroy(webml_device *d) {
  if (!d) return;
  d->backend->close(d->handle);
  pthread_mutex_destroy(&d->speed_mutex);
  wml_free(d);
}

const char *webml_device_identity(const webml_device *d) {
  return d->backend->identity(d->handle);
}

const char *webml_device_name(const webml_device *d) {
  return d->name;
}

webml_status webml_device_check(const webml_device *d, webml_precision precision) {
  if (!d) return wml_fail(WEBML_ERROR_ARGUMENT, "webml_device_check: device must not be NULL");
  if (precision > WEBML_MIXED_BFLOAT16)
    return wml_fail(WEBML_ERROR_ARGUMENT, "precision %d is none of webml_precision",
                    (int)precision);
  if (precision != WEBML_MIXED_BFLOAT16 || d->bfloat16) return WEBML_OK;
  if (d->compute_capability[0])
    return wml_fail(WEBML_ERROR_UNSUPPORTED,
                    "device %s: mixed_bfloat16 needs a GPU of compute capability 8.0 or more, and "
                    "this one has %d.%d; use float32, or another device",
                    d->name, d->compute_capability[0], d->compute_capability[1]);
  return wml_fail(WEBML_ERROR_UNSUPPORTED,
                  "device %s: mixed_bfloat16 needs a processor that computes in bfloat16 "
                  "(AVX512_BF16 or AMX), which this one does not; use float32, or another device",
                  d->name);
}

/* ---- what there is, as JSON ---- */

static void write_start(wml_text *t, const wml_device_info *info, const char *kind) {
  wml_json_open(t, '{');
  wml_json_key(t, "name");
  wml_json_string(t, info->name);
  wml_json_key(t, "kind");
  wml_json_string(t, kind);
  wml_json_key(t, "description");
  wml_json_string(t, info->description);
  wml_json_key(t, "bfloat16");
  wml_json_bool(t, info->bfloat16);
  wml_json_key(t, "int8");
  wml_json_bool(t, info->int8);
}

static void write_memory(wml_text *t, size_t total, size_t available) {
  wml_json_key(t, "memory_total");
  wml_json_int(t, (long long)total);
  wml_json_key(t, "memory_available");
  wml_json_int(t, (long long)available);
}

static webml_status write_cpu(wml_text *t) {
  wml_device_info info;
  webml_device *cpu = NULL;
  int count;
  WML_TRY(webml_device_open("cpu", 0, &cpu));
  wml_backend_cpu.enumerate(&wml_library_host, &info, 1, &count);
  write_start(t, &info, "cpu");
  wml_json_key(t, "threads");
  wml_json_int(t, sysconf(_SC_NPROCESSORS_ONLN));
  write_memory(t, info.total, wml_host_available());
  wml_json_key(t, "identity");
  wml_json_string(t, webml_device_identity(cpu));
  wml_json_close(t, '}');
  webml_device_destroy(cpu);
  return WEBML_OK;
}

static void write_gpu(wml_text *t, const wml_device_info *info) {
  char capability[24];
  snprintf(capability, sizeof capability, "%d.%d", info->compute_capability[0],
           info->compute_capability[1]);
  write_start(t, info, "cuda");
  wml_json_key(t, "uuid");
  wml_json_string(t, info->uuid);
  wml_json_key(t, "compute_capability");
  wml_json_string(t, capability);
  wml_json_key(t, "multiprocessors");
  wml_json_int(t, info->multiprocessors);
  write_memory(t, info->total, info->available);
  wml_json_close(t, '}');
}

webml_status webml_devices(char **json) {
  if (!json) return wml_fail(WEBML_ERROR_ARGUMENT, "webml_devices: json must not be NULL");
  wml_device_info gpus[MAX_GPUS];
  int count = 0;
  wml_text t = {0};
  wml_json_open(&t, '{');
  wml_json_key(&t, "devices");
  wml_json_open(&t, '[');
  webml_status status = write_cpu(&t);
  if (status != WEBML_OK) {
    wml_text_free(&t);
    return status;
  }
  list_gpus(gpus, &count);
  for (int i = 0; i < count; i++) write_gpu(&t, &gpus[i]);
  wml_json_close(&t, ']');
  wml_json_key(&t, "unavailable");
  wml_json_open(&t, '[');
  if (count == 0) {
    wml_json_open(&t, '{');
    wml_json_key(&t, "kind");
    wml_json_string(&t, "cuda");
    wml_json_key(&t, "reason");
    wml_json_string(&t, webml_last_error());
    wml_json_close(&t, '}');
    wml_clear_error();
  }
  wml_json_close(&t, ']');
  wml_json_close(&t, '}');
  return wml_text_take(&t, json);
}
