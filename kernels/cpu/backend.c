/* The back end's table, device and store. Everything that touches oneDNN or the team of threads is
 * sent to the device's executor; plans of small dense networks run on the caller's thread. */
#include "cpu.h"
#include "plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const vec_table *vec_choose(void) {
#if defined(__x86_64__)
  const char *limit = getenv("WEBML_ISA");
  bool baseline = limit && strcmp(limit, "baseline") == 0,
       avx2 = limit && strcmp(limit, "avx2") == 0;
  __builtin_cpu_init();
  if (!baseline && !avx2 && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return &vec_avx512;
  if (!baseline && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return &vec_avx2;
  return &vec_baseline;
#elif defined(__aarch64__)
  return &vec_neon;
#else
  return &vec_baseline;
#endif
}

/* "model name" of /proc/cpuinfo. */
static void describe_processor(char *out, size_t size) {
  char line[256];
  snprintf(out, size, "CPU");
  FILE *f = fopen("/proc/cpuinfo", "r");
  while (f && fgets(line, sizeof line, f)) {
    char *colon = strchr(line, ':');
    if (!colon || strncmp(line, "model name", 10) != 0) continue;
    colon[strcspn(colon, "\n")] = '\0';
    snprintf(out, size, "%.150s", colon + 2);
    break;
  }
  if (f) fclose(f);
}

static wml_result cpu_enumerate(const wml_host *host, wml_device_info *list, int capacity,
                                int *count) {
  (void)host;
  *count = 1;
  if (capacity < 1) return WML_OK;
  list[0] = (wml_device_info){.name = "cpu", .bfloat16 = cpu_can_narrow(), .int8 = cpu_can_int8()};
  describe_processor(list[0].description, sizeof list[0].description);
  list[0].total = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
  return WML_OK;
}

/* A number from the environment instead of the usual one: tests set some low. */
static int64_t number_of(const char *name, int64_t usual) {
  const char *wanted = getenv(name);
  return wanted ? atoll(wanted) : usual;
}

/* Bytes; 0: unknown. glibc asks the processor on x86-64 but knows nothing on AArch64, and musl has
 * no such name; there the kernel is asked. */
static int64_t second_level_cache(void) {
  int64_t bytes = 0;
#if defined(_SC_LEVEL2_CACHE_SIZE)
  bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
#endif
  FILE *f = bytes > 0 ? NULL : fopen("/sys/devices/system/cpu/cpu0/cache/index2/size", "r");
  if (!f) return bytes;
  long kib = 0;
  if (fscanf(f, "%ldK", &kib) == 1) bytes = (int64_t)kib * 1024;
  fclose(f);
  return bytes;
}

static int64_t cache_of_thread(void) {
  int64_t least = 1 << 20, second_level = second_level_cache();
  return second_level > least ? second_level : least;
}

static void cpu_close(wml_device *device) {
  if (!device) return;
  dnnl_stream_destroy(device->stream);
  dnnl_engine_destroy(device->engine);
  cpu_executor_destroy(device->executor);
  device->host.release(device);
}

static wml_result cpu_open(const wml_host *host, const wml_device_config *config,
                           wml_device **out) {
  wml_device *device = host->alloc(sizeof *device, 64);
  if (!device) {
    host->error("out of memory for the CPU device");
    return WML_OUT_OF_MEMORY;
  }
  memset(device, 0, sizeof *device);
  device->host = *host;
  device->threads = config->threads > 0 ? config->threads : cpu_cores();
  device->vec = vec_choose();
  device->cache = number_of("WEBML_CPU_PART_BYTES", cache_of_thread());
  device->winograd = number_of("WEBML_CPU_WINOGRAD_CHANNELS", 64);
  device->finest_pieces = number_of("WEBML_CPU_FINEST_PIECES", 0) != 0;
  dnnl_set_primitive_cache_capacity(0); /* unloaded models would keep 17 MB */
  wml_result result =
      cpu_check(device, dnnl_engine_create(&device->engine, dnnl_cpu, 0), "engine_create");
  if (result == WML_OK)
    result = cpu_check(
        device, dnnl_stream_create(&device->stream, device->engine, dnnl_stream_default_flags),
        "stream_create");
  if (result == WML_OK && !(device->executor = cpu_executor_create(host, device->threads)))
    result = WML_OUT_OF_MEMORY;
  if (result != WML_OK) {
    cpu_close(device);
    return result;
  }
  const dnnl_version_t *v = dnnl_version();
  snprintf(device->identity, sizeof device->identity, "cpu oneDNN %d.%d.%d isa %d, own %s",
           v->major, v->minor, v->patch, (int)dnnl_get_effective_cpu_isa(), device->vec->name);
  *out = device;
  return WML_OK;
}

static const char *cpu_identity(const wml_device *device) {
  return device->identity;
}

static bool cpu_int8(const wml_device *device) {
  (void)device;
  return cpu_can_int8();
}

cpu_entry *cpu_entry_create(const wml_device *device, const wml_tensor *t) {
  size_t length = strlen(t->name) + 1;
  cpu_entry *e = device->host.alloc(sizeof *e, 64);
  char *name = e ? device->host.alloc(length, 64) : NULL;
  if (!name) {
    device->host.release(e);
    device->host.error("out of memory for the tensor %s", t->name);
    return NULL;
  }
  memset(e, 0, sizeof *e);
  memcpy(name, t->name, length);
  e->name = name;
  e->elements = wml_elements(t);
  dnnl_dims_t all = {e->elements}, one = {1};
  dnnl_memory_desc_init_by_strides(&e->plain, 1, all, dnnl_f32, one);
  e->own = e->plain;
  return e;
}

void cpu_entry_destroy(const wml_device *device, cpu_entry *e) {
  dnnl_primitive_destroy(e->reorder);
  dnnl_memory_destroy(e->from);
  dnnl_memory_destroy(e->to);
  device->host.release(e->name);
  device->host.release(e);
}

static wml_result cpu_store_create(wml_device *device, wml_store **out) {
  wml_store *store = device->host.alloc(sizeof *store, 64);
  if (!store) {
    device->host.error("out of memory for a store of weights");
    return WML_OUT_OF_MEMORY;
  }
  *store = (wml_store){.device = device, .version = 1};
  *out = store;
  return WML_OK;
}

static void cpu_store_destroy(wml_store *store) {
  if (!store) return;
  const wml_host *host = &store->device->host;
  for (cpu_entry *e = store->entries, *next; e; e = next) {
    next = e->next;
    cpu_entry_destroy(store->device, e);
  }
  for (cpu_entry *e = store->copies, *next; e; e = next) {
    next = e->next;
    host->release(e->data);
    cpu_entry_destroy(store->device, e);
  }
  for (cpu_block *b = store->blocks, *next; b; b = next) {
    next = b->next;
    host->release(b->data);
    host->release(b);
  }
  host->release(store);
}

/* One call to the executor. */
typedef struct cpu_call {
  wml_store *store;
  wml_plan *plan;
  const wml_graph *graph;
  wml_run *run;
  const cpu_entry *entry;
  const float *in;
  float *out;
  wml_result result;
} cpu_call;

static wml_result send(wml_device *device, void (*run)(void *), cpu_call *call, bool brief) {
  const cpu_job job = {run, call, brief};
  return cpu_executor_call(device->executor, &job) ? call->result : WML_DEVICE_FAILED;
}

static void put_job(void *arg) {
  cpu_call *c = arg;
  c->result =
      cpu_reorder_now(c->store->device, &c->entry->plain, c->in, &c->entry->own, c->entry->data);
}

static void get_job(void *arg) {
  cpu_call *c = arg;
  c->result =
      cpu_reorder_now(c->store->device, &c->entry->own, c->entry->data, &c->entry->plain, c->out);
}

static const cpu_entry *usable_entry(wml_store *store, const char *name) {
  for (const cpu_entry *e = store->entries; e; e = e->next)
    if (strcmp(e->name, name) == 0 && e->data) return e;
  store->device->host.error("the store has no tensor named %s", name);
  return NULL;
}

static wml_result cpu_put(wml_store *store, const char *name, const float *host) {
  cpu_call c = {.store = store, .entry = usable_entry(store, name), .in = host};
  if (!c.entry) return WML_INVALID;
  store->version++;
  if (!dnnl_memory_desc_equal(&c.entry->plain, &c.entry->own))
    return send(store->device, put_job, &c, true);
  memcpy(c.entry->data, host, (size_t)c.entry->elements * sizeof *host);
  return WML_OK;
}

static wml_result cpu_get(wml_store *store, const char *name, float *host) {
  cpu_call c = {.store = store, .entry = usable_entry(store, name), .out = host};
  if (!c.entry) return WML_INVALID;
  if (!dnnl_memory_desc_equal(&c.entry->plain, &c.entry->own))
    return send(store->device, get_job, &c, true);
  memcpy(host, c.entry->data, (size_t)c.entry->elements * sizeof *host);
  return WML_OK;
}

static void compile_job(void *arg) {
  cpu_call *c = arg;
  c->result = cpu_plan_create(c->store, c->graph, &c->plan);
}

static wml_result cpu_compile(wml_store *store, const wml_graph *graph, wml_plan **out) {
  cpu_call c = {.store = store, .graph = graph};
  wml_result result = send(store->device, compile_job, &c, false);
  if (result == WML_OK) *out = c.plan;
  return result;
}

static void prepare_job(void *arg) {
  cpu_call *c = arg;
  c->result = cpu_plan_prepare(c->plan);
}

static wml_result cpu_prepare(wml_plan *plan) {
  return send(plan->device, prepare_job, &(cpu_call){.plan = plan}, false);
}

static void run_job(void *arg) {
  cpu_call *c = arg;
  c->result = cpu_fold_refresh(c->plan);
  if (c->result == WML_OK) c->result = cpu_plan_run(c->plan, c->run);
}

static bool has(const wml_plan *plan, wml_op_kind kind) {
  for (int k = 0; k < plan->n_nodes; k++)
    if (plan->nodes[k].op.kind == kind) return true;
  return false;
}

static wml_result cpu_run(wml_plan *plan, wml_run *run) {
  cpu_call c = {.plan = plan, .run = run};
  if (plan->inline_ && !plan->folds) return cpu_plan_run(plan, run);
  wml_result result =
      send(plan->device, run_job, &c, run->n_steps == 1 && !has(plan, WML_OP_UPDATE));
  if (has(plan, WML_OP_BATCHNORM_TRAIN))
    plan->store->version++; /* moving statistics; an update counts by itself */
  return result;
}

static wml_result cpu_read(wml_plan *plan, int tensor, float *host) {
  const cpu_tensor *t = &plan->tensors[tensor];
  memcpy(host, t->data, (size_t)wml_elements(&t->info) * sizeof *host);
  return WML_OK;
}

static const char *cpu_implementation_of(const wml_plan *plan, int node) {
  return node < plan->n_nodes ? plan->nodes[node].name : NULL;
}

const wml_backend wml_backend_cpu = {
    .version = WML_BACKEND_VERSION,
    .name = "cpu",
    .enumerate = cpu_enumerate,
    .open = cpu_open,
    .close = cpu_close,
    .identity = cpu_identity,
    .int8 = cpu_int8,
    .store_create = cpu_store_create,
    .store_destroy = cpu_store_destroy,
    .put = cpu_put,
    .get = cpu_get,
    .compile = cpu_compile,
    .memory = cpu_plan_memory,
    .prepare = cpu_prepare,
    .run = cpu_run,
    .read = cpu_read,
    .implementation = cpu_implementation_of,
    .plan_destroy = cpu_plan_destroy,
};
