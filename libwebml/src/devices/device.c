#include "devices/device.h"

#include "base/alloc.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const struct {
  const char *name;
  const wml_backend *backend;
} backends[] = {{"cpu", &wml_backend_cpu}, {"ref", &wml_backend_ref}};

webml_status webml_device_open(const char *name, int threads, webml_device **out) {
  if (!out) return wml_fail(WEBML_ERROR_ARGUMENT, "webml_device_open: device must not be NULL");
  if (threads < 0 || threads > 1024)
    return wml_fail(WEBML_ERROR_ARGUMENT, "%d threads are out of range; 0 stands for all cores",
                    threads);
  if (!name || strcmp(name, "auto") == 0) name = "cpu";
  if (strncmp(name, "cuda", 4) == 0)
    return wml_fail(WEBML_ERROR_UNSUPPORTED,
                    "device %s: this build has no CUDA back end; use \"cpu\"", name);
  for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
    if (strcmp(name, backends[i].name) != 0) continue;
    webml_device *d = wml_calloc(1, sizeof *d);
    if (!d) return wml_no_memory(sizeof *d, "a device");
    *d = (webml_device){.backend = backends[i].backend, .name = backends[i].name};
    wml_device_config config = {.threads = threads};
    webml_status status = wml_from_result(d->backend->open(&wml_library_host, &config, &d->handle));
    if (status == WEBML_OK)
      *out = d;
    else
      wml_free(d);
    return status;
  }
  return wml_fail(WEBML_ERROR_ARGUMENT, "unknown device \"%s\"; use auto, cpu or cuda:N", name);
}

void webml_device_destroy(webml_device *d) {
  if (!d) return;
  d->backend->close(d->handle);
  wml_free(d);
}

const char *webml_device_identity(const webml_device *d) {
  return d->backend->identity(d->handle);
}

size_t wml_device_available(const webml_device *d) {
  (void)d;
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

/* "model name" of /proc/cpuinfo. */
static void cpu_name(char *out, size_t size) {
  char line[256];
  snprintf(out, size, "CPU");
  FILE *f = fopen("/proc/cpuinfo", "r");
  while (f && fgets(line, sizeof line, f)) {
    char *colon = strchr(line, ':');
    if (!colon || strncmp(line, "model name", 10) != 0) continue;
    colon[strcspn(colon, "\n")] = '\0';
    snprintf(out, size, "%s", colon + 2);
    break;
  }
  if (f) fclose(f);
}

webml_status webml_devices(char **json) {
  if (!json) return wml_fail(WEBML_ERROR_ARGUMENT, "webml_devices: json must not be NULL");
  webml_device *cpu = NULL;
  WML_TRY(webml_device_open("cpu", 0, &cpu));
  char name[200];
  cpu_name(name, sizeof name);
  wml_text t = {0};
  wml_json_open(&t, '{');
  wml_json_key(&t, "devices");
  wml_json_open(&t, '[');
  wml_json_open(&t, '{');
  wml_json_key(&t, "name");
  wml_json_string(&t, "cpu");
  wml_json_key(&t, "kind");
  wml_json_string(&t, "cpu");
  wml_json_key(&t, "description");
  wml_json_string(&t, name);
  wml_json_key(&t, "threads");
  wml_json_int(&t, sysconf(_SC_NPROCESSORS_ONLN));
  wml_json_key(&t, "memory_total");
  wml_json_int(&t, (long long)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE));
  wml_json_key(&t, "memory_available");
  wml_json_int(&t, (long long)wml_device_available(cpu));
  wml_json_key(&t, "identity");
  wml_json_string(&t, webml_device_identity(cpu));
  wml_json_close(&t, '}');
  wml_json_close(&t, ']');
  wml_json_key(&t, "unavailable");
  wml_json_open(&t, '[');
  wml_json_open(&t, '{');
  wml_json_key(&t, "kind");
  wml_json_string(&t, "cuda");
  wml_json_key(&t, "reason");
  wml_json_string(&t, "this build has no CUDA back end");
  wml_json_close(&t, '}');
  wml_json_close(&t, ']');
  wml_json_close(&t, '}');
  webml_device_destroy(cpu);
  return wml_text_take(&t, json);
}
