#include "nvml.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the library's interface, by its documentation (NVML API reference) ---- */

typedef struct device *device;

typedef struct memory {
  unsigned long long total, free, used;
} memory;

typedef struct memory_v2 {
  unsigned version;
  unsigned long long total, reserved, free, used;
} memory_v2;

typedef struct utilisation {
  unsigned gpu, memory;
} utilisation;

typedef struct pci_info {
  char bus_id_short[16];
  unsigned domain, bus, slot, device_id, subsystem_id;
  char bus_id[32];
} pci_info;

enum { SUCCESS = 0, INSUFFICIENT_SIZE = 7, TEMPERATURE_GPU = 0, CLOCK_SM = 1, CLOCK_MEMORY = 2 };

struct nvml {
  void *library;
  int (*init)(void);
  int (*shutdown)(void);
  const char *(*error)(int);
  int (*count)(unsigned *);
  int (*handle)(unsigned, device *);
  int (*uuid)(device, char *, unsigned);
  int (*name)(device, char *, unsigned);
  int (*pci)(device, pci_info *);
  int (*capability)(device, int *, int *);
  int (*memory)(device, memory *);
  int (*memory_v2)(device, memory_v2 *);
  int (*utilisation)(device, utilisation *);
  int (*temperature)(device, int, unsigned *);
  int (*power)(device, unsigned *);
  int (*power_limit)(device, unsigned *);
  int (*fan)(device, unsigned *);
  int (*clock)(device, int, unsigned *);
  int (*compute)(device, unsigned *, void *);
  int (*graphics)(device, unsigned *, void *);
};

typedef struct symbol {
  const char *name;
  size_t offset;
  bool needed;
} symbol;

#define SYMBOL(member, name, needed)                                                               \
  { name, offsetof(struct nvml, member), needed }
static const symbol symbols[] = {
    SYMBOL(init, "nvmlInit_v2", true),
    SYMBOL(shutdown, "nvmlShutdown", true),
    SYMBOL(error, "nvmlErrorString", true),
    SYMBOL(count, "nvmlDeviceGetCount_v2", true),
    SYMBOL(handle, "nvmlDeviceGetHandleByIndex_v2", true),
    SYMBOL(uuid, "nvmlDeviceGetUUID", true),
    SYMBOL(name, "nvmlDeviceGetName", true),
    SYMBOL(memory, "nvmlDeviceGetMemoryInfo", true),
    SYMBOL(memory_v2, "nvmlDeviceGetMemoryInfo_v2", false),
    SYMBOL(pci, "nvmlDeviceGetPciInfo_v3", false),
    SYMBOL(capability, "nvmlDeviceGetCudaComputeCapability", false),
    SYMBOL(utilisation, "nvmlDeviceGetUtilizationRates", false),
    SYMBOL(temperature, "nvmlDeviceGetTemperature", false),
    SYMBOL(power, "nvmlDeviceGetPowerUsage", false),
    SYMBOL(power_limit, "nvmlDeviceGetEnforcedPowerLimit", false),
    SYMBOL(fan, "nvmlDeviceGetFanSpeed", false),
    SYMBOL(clock, "nvmlDeviceGetClockInfo", false),
    SYMBOL(compute, "nvmlDeviceGetComputeRunningProcesses_v3", false),
    SYMBOL(graphics, "nvmlDeviceGetGraphicsRunningProcesses_v3", false),
};
#undef SYMBOL

static bool load_symbols(nvml *n, char *reason, size_t size) {
  for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
    void *address = dlsym(n->library, symbols[i].name);
    if (!address && symbols[i].needed) {
      snprintf(reason, size, "the driver's libnvidia-ml.so.1 has no %s: it is too old",
               symbols[i].name);
      return false;
    }
    memcpy((char *)n + symbols[i].offset, &address, sizeof address);
  }
  return true;
}

nvml *nvml_open(char *reason, size_t size) {
  nvml *n = calloc(1, sizeof *n);
  if (!n) {
    snprintf(reason, size, "out of memory");
    return NULL;
  }
  n->library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!n->library)
    snprintf(reason, size, "no NVIDIA driver (libnvidia-ml.so.1 is not there)");
  else if (load_symbols(n, reason, size)) {
    int result = n->init();
    if (result == SUCCESS) return n;
    snprintf(reason, size, "the NVIDIA driver does not work: %s", n->error(result));
  }
  if (n->library) dlclose(n->library);
  free(n);
  return NULL;
}

void nvml_close(nvml *n) {
  if (!n) return;
  n->shutdown();
  dlclose(n->library);
  free(n);
}

/* ---- processes ---- */

enum { MOST_STRIDE = 32 };

static bool exists(int64_t pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%lld", (long long)pid);
  return access(path, F_OK) == 0;
}

static nvml_process process_at(const char *bytes, size_t stride, unsigned i) {
  unsigned pid;
  unsigned long long used;
  memcpy(&pid, bytes + i * stride, sizeof pid);
  memcpy(&used, bytes + i * stride + 8, sizeof used);
  return (nvml_process){pid, used > INT64_MAX ? -1 : (int64_t)used};
}

/* Early drivers of release 535 put 32 bytes per process behind the same name instead of 24: the
 * right distance is the one at which processes stand that exist. */
static size_t stride_of(const char *bytes, unsigned n) {
  static const size_t strides[] = {24, 32};
  size_t best = strides[0];
  int most = -1;
  for (int k = 0; k < 2; k++) {
    int found = 0;
    for (unsigned i = 0; i < n; i++) found += exists(process_at(bytes, strides[k], i).pid);
    if (found > most) most = found, best = strides[k];
  }
  return best;
}

static void add_process(nvml_gpu *g, nvml_process p) {
  for (int i = 0; i < g->n_processes; i++)
    if (g->processes[i].pid == p.pid) {
      if (p.memory > g->processes[i].memory) g->processes[i].memory = p.memory;
      return;
    }
  if (g->n_processes < NVML_MOST_PROCESSES) g->processes[g->n_processes++] = p;
}

static void read_processes(int (*get)(device, unsigned *, void *), device d, nvml_gpu *g) {
  char bytes[NVML_MOST_PROCESSES * MOST_STRIDE] = {0};
  unsigned n = NVML_MOST_PROCESSES;
  if (!get) return;
  int result = get(d, &n, bytes);
  if (result != SUCCESS && result != INSUFFICIENT_SIZE) return;
  if (n > NVML_MOST_PROCESSES) n = NVML_MOST_PROCESSES;
  size_t stride = stride_of(bytes, n);
  for (unsigned i = 0; i < n; i++) add_process(g, process_at(bytes, stride, i));
}

/* ---- one card ---- */

static int64_t number(int (*get)(device, unsigned *), device d) {
  unsigned value;
  return get && get(d, &value) == SUCCESS ? (int64_t)value : -1;
}

static int64_t typed_number(int (*get)(device, int, unsigned *), device d, int type) {
  unsigned value;
  return get && get(d, type, &value) == SUCCESS ? (int64_t)value : -1;
}

static void read_memory(const nvml *n, device d, nvml_gpu *g) {
  memory_v2 two = {.version = (unsigned)sizeof two | 2u << 24};
  memory one;
  g->memory_total = g->memory_used = g->memory_free = -1;
  if (n->memory_v2 && n->memory_v2(d, &two) == SUCCESS) {
    g->memory_total = (int64_t)two.total;
    g->memory_used = (int64_t)two.used;
    g->memory_free = (int64_t)two.free;
  } else if (n->memory(d, &one) == SUCCESS) {
    g->memory_total = (int64_t)one.total;
    g->memory_used = (int64_t)one.used;
    g->memory_free = (int64_t)one.free;
  }
}

static void read_gpu(const nvml *n, device d, nvml_gpu *g) {
  utilisation use;
  pci_info pci;
  bool known = n->utilisation && n->utilisation(d, &use) == SUCCESS;
  read_memory(n, d, g);
  g->utilisation = known ? (int64_t)use.gpu : -1;
  g->memory_utilisation = known ? (int64_t)use.memory : -1;
  g->temperature = typed_number(n->temperature, d, TEMPERATURE_GPU);
  g->power = number(n->power, d);
  g->power_limit = number(n->power_limit, d);
  g->fan = number(n->fan, d);
  g->sm_clock = typed_number(n->clock, d, CLOCK_SM);
  g->memory_clock = typed_number(n->clock, d, CLOCK_MEMORY);
  if (!n->capability || n->capability(d, &g->capability[0], &g->capability[1]) != SUCCESS)
    g->capability[0] = g->capability[1] = -1;
  if (n->pci && n->pci(d, &pci) == SUCCESS) memcpy(g->bus_id, pci.bus_id, sizeof g->bus_id - 1);
  read_processes(n->compute, d, g);
  read_processes(n->graphics, d, g);
}

int nvml_read(nvml *n, nvml_gpu *gpus, char *reason, size_t size) {
  unsigned count = 0;
  int found = 0, result = n->count(&count);
  if (result != SUCCESS) {
    snprintf(reason, size, "the NVIDIA driver does not work: %s", n->error(result));
    return -1;
  }
  for (unsigned i = 0; i < count && found < NVML_MOST_GPUS; i++) {
    nvml_gpu *g = &gpus[found];
    device d;
    memset(g, 0, sizeof *g);
    if (n->handle(i, &d) != SUCCESS || n->uuid(d, g->uuid, sizeof g->uuid) != SUCCESS) continue;
    if (n->name(d, g->name, sizeof g->name) != SUCCESS) g->name[0] = '\0';
    read_gpu(n, d, g);
    found++;
  }
  if (!count) snprintf(reason, size, "the NVIDIA driver finds no card");
  return found;
}
