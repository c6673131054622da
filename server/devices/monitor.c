#include "monitor.h"

#include "context/events.h"
#include "context/settings.h"
#include "nvml.h"
#include "store/settings.h"
#include "webml.h"

#include <ctype.h>
#include <math.h>
#include <pthread.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum { EVERY_MS = 750, OLD_SECONDS = 3 };

typedef struct cpu_look {
  char model[128];
  int threads;
  bool bfloat16;
  int64_t memory_total, memory_available, disk_total, disk_free;
  double load;          /* share of all cores since the last look */
  uint64_t busy, ticks; /* of the last look */
} cpu_look;

struct monitor {
  const context *context;
  monitor_source source; /* under source_mutex */
  pthread_mutex_t source_mutex;
  pthread_t thread;
  bool started;
  pthread_mutex_t mutex; /* of everything below */
  pthread_cond_t wake;
  bool stop, again;
  cpu_look cpu;
  nvml *nvml;
  char reason[256]; /* why there is no GPU */
  int n_gpus;
  nvml_gpu gpus[NVML_MOST_GPUS];
  double looked; /* context_monotonic() */
  int n_jobs;
  device_run jobs[CHOOSE_MOST_RUNNING];
  bool closed[CHOOSE_MOST_DEVICES]; /* the CPU first */
  char signature[8192];             /* of what was told last */
};

/* ---- looking ---- */

static void read_model(cpu_look *c) {
  char line[512];
  FILE *f = fopen("/proc/cpuinfo", "re");
  snprintf(c->model, sizeof c->model, "processor");
  while (f && fgets(line, sizeof line, f)) {
    char *colon = strchr(line, ':');
    if (strncmp(line, "model name", 10) != 0 || !colon) continue;
    snprintf(c->model, sizeof c->model, "%.120s", colon + 2);
    c->model[strcspn(c->model, "\n")] = '\0';
    break;
  }
  if (f) fclose(f);
  c->threads = (int)sysconf(_SC_NPROCESSORS_ONLN);
}

/* The library says it of the processor, once: trainings run with the same library. */
static void read_bfloat16(cpu_look *c) {
  webml_device *cpu = NULL;
  c->bfloat16 = webml_device_open("cpu", 1, &cpu) == WEBML_OK &&
                webml_device_check(cpu, WEBML_MIXED_BFLOAT16) == WEBML_OK;
  webml_device_destroy(cpu);
}

static void read_load(cpu_look *c) {
  unsigned long long v[8] = {0};
  FILE *f = fopen("/proc/stat", "re");
  int n = f ? fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3],
                     &v[4], &v[5], &v[6], &v[7])
            : 0;
  if (f) fclose(f);
  if (n < 4) return;
  uint64_t ticks = 0, idle = v[3] + v[4];
  for (int i = 0; i < 8; i++) ticks += v[i];
  uint64_t busy = ticks - idle;
  if (c->ticks && ticks > c->ticks) c->load = (double)(busy - c->busy) / (double)(ticks - c->ticks);
  c->busy = busy;
  c->ticks = ticks;
}

static void read_cpu(const context *x, cpu_look *c) {
  char line[128];
  long long kb;
  struct statvfs disk;
  FILE *f = fopen("/proc/meminfo", "re");
  while (f && fgets(line, sizeof line, f)) {
    if (sscanf(line, "MemTotal: %lld kB", &kb) == 1) c->memory_total = kb * 1024;
    if (sscanf(line, "MemAvailable: %lld kB", &kb) == 1) c->memory_available = kb * 1024;
  }
  if (f) fclose(f);
  if (statvfs(x->data_dir, &disk) == 0) {
    c->disk_total = (int64_t)disk.f_blocks * (int64_t)disk.f_frsize;
    c->disk_free = (int64_t)disk.f_bavail * (int64_t)disk.f_frsize;
  }
  read_load(c);
}

static bool is_closed(const json_t *rows, const char *id) {
  size_t i;
  json_t *row;
  json_array_foreach((json_t *)(uintptr_t)rows, i, row) {
    if (strcmp(store_text(row, "key"), id) == 0) return true;
  }
  return false;
}

/* Of a process, in bytes. */
static int64_t resident(int64_t pid) {
  char path[64];
  long long pages = 0;
  snprintf(path, sizeof path, "/proc/%lld/statm", (long long)pid);
  FILE *f = fopen(path, "re");
  if (f && fscanf(f, "%*s %lld", &pages) != 1) pages = 0;
  if (f) fclose(f);
  return pages * (int64_t)sysconf(_SC_PAGESIZE);
}

/* ---- who starts trainings ---- */

static int list_runs(monitor *m, device_run *list, int most) {
  pthread_mutex_lock(&m->source_mutex);
  int n = m->source.runs ? m->source.runs(m->source.user, list, most) : 0;
  pthread_mutex_unlock(&m->source_mutex);
  return n;
}

static void tell_source(monitor *m) {
  pthread_mutex_lock(&m->source_mutex);
  if (m->source.changed) m->source.changed(m->source.user);
  pthread_mutex_unlock(&m->source_mutex);
}

void monitor_set_source(monitor *m, monitor_source source) {
  pthread_mutex_lock(&m->source_mutex);
  m->source = source;
  pthread_mutex_unlock(&m->source_mutex);
}

static void look(monitor *m) {
  json_t *closed = devices_closed(m->context->store);
  device_run jobs[CHOOSE_MOST_RUNNING];
  int n_jobs = list_runs(m, jobs, CHOOSE_MOST_RUNNING);
  nvml_gpu *gpus = calloc(NVML_MOST_GPUS, sizeof *gpus); /* the driver may take its time */
  char reason[256];
  int n_gpus = m->nvml && gpus ? nvml_read(m->nvml, gpus, reason, sizeof reason) : 0;
  pthread_mutex_lock(&m->mutex);
  if (m->nvml && n_gpus <= 0) snprintf(m->reason, sizeof m->reason, "%s", reason);
  m->n_gpus = n_gpus > 0 ? n_gpus : 0;
  if (m->n_gpus) memcpy(m->gpus, gpus, (size_t)n_gpus * sizeof *gpus);
  m->n_jobs = n_jobs;
  memcpy(m->jobs, jobs, (size_t)n_jobs * sizeof *jobs);
  read_cpu(m->context, &m->cpu);
  m->looked = context_monotonic();
  m->closed[0] = is_closed(closed, "cpu");
  for (int i = 0; i < m->n_gpus; i++) m->closed[i + 1] = is_closed(closed, m->gpus[i].uuid);
  pthread_mutex_unlock(&m->mutex);
  json_decref(closed);
  free(gpus);
}

/* ---- as JSON; the mutex is held ---- */

static json_t *known(int64_t value) {
  return value < 0 ? json_null() : json_integer(value);
}

static json_t *text(const char *value) {
  json_t *t = json_string(value);
  return t ? t : json_string("?"); /* not UTF-8 */
}

static json_t *memory_of(int64_t total, int64_t used, int64_t rest) {
  return json_pack("{s:o, s:o, s:o}", "total", known(total), "used", known(used), "free",
                   known(rest));
}

static json_t *sessions_on(const struct monitor *m, const char *device) {
  json_t *list = json_array();
  for (int i = 0; i < m->n_jobs; i++)
    if (strcmp(m->jobs[i].device, device) == 0)
      json_array_append_new(list, json_integer(m->jobs[i].session));
  return list;
}

static json_t *cpu_json(const struct monitor *m) {
  const cpu_look *c = &m->cpu;
  return json_pack(
      "{s:s, s:s, s:o, s:i, s:b, s:f, s:o, s:o, s:o, s:b, s:n}", "name", "cpu", "kind", "cpu",
      "description", text(c->model), "threads", c->threads, "bfloat16", c->bfloat16, "load",
      (double)(int)(c->load * 100 + 0.5) / 100, "memory",
      memory_of(c->memory_total, c->memory_total - c->memory_available, c->memory_available),
      "disk", memory_of(c->disk_total, c->disk_total - c->disk_free, c->disk_free), "sessions",
      sessions_on(m, "cpu"), "closed", m->closed[0], "reservation");
}

/* Who runs the process: the account in full where it has a name, else its number. */
static json_t *user_of(int64_t pid) {
  char path[64], line[256], buffer[4096];
  unsigned uid = 0;
  bool found = false;
  struct passwd entry, *who = NULL;
  snprintf(path, sizeof path, "/proc/%lld/status", (long long)pid);
  FILE *f = fopen(path, "re");
  while (f && !found && fgets(line, sizeof line, f)) found = sscanf(line, "Uid: %u", &uid) == 1;
  if (f) fclose(f);
  if (!found) return json_null();
  if (getpwuid_r(uid, &entry, buffer, sizeof buffer, &who) == 0 && who) return text(who->pw_name);
  snprintf(line, sizeof line, "%u", uid);
  return json_string(line);
}

/* The program's name; its arguments may hold secrets. */
static json_t *command_of(int64_t pid) {
  char path[64], line[512] = "";
  snprintf(path, sizeof path, "/proc/%lld/cmdline", (long long)pid);
  FILE *f = fopen(path, "re");
  size_t n = f ? fread(line, 1, sizeof line - 1, f) : 0;
  line[n] = '\0';
  if (f) fclose(f);
  const char *slash = strrchr(line, '/');
  return n ? text(slash ? slash + 1 : line) : json_null();
}

static json_t *processes_of(const struct monitor *m, const nvml_gpu *g) {
  json_t *list = json_array();
  for (int i = 0; i < g->n_processes; i++) {
    const nvml_process *p = &g->processes[i];
    json_t *session = json_null();
    for (int k = 0; k < m->n_jobs; k++)
      if (m->jobs[k].pid == p->pid) session = json_integer(m->jobs[k].session);
    json_array_append_new(list, json_pack("{s:I, s:o, s:o, s:o, s:o}", "pid", (json_int_t)p->pid,
                                          "user", user_of(p->pid), "command", command_of(p->pid),
                                          "memory", known(p->memory), "session", session));
  }
  return list;
}

static json_t *watts(int64_t milliwatts) {
  return milliwatts < 0 ? json_null() : json_real((double)(milliwatts / 100) / 10);
}

static bool has_no_bfloat16(const nvml_gpu *g) {
  return g->capability[0] >= 0 && g->capability[0] < 8;
}

static json_t *capability_of(const nvml_gpu *g) {
  char line[32];
  snprintf(line, sizeof line, "%d.%d", g->capability[0], g->capability[1]);
  return g->capability[0] < 0 ? json_null() : json_string(line);
}

static json_t *gpu_json(const struct monitor *m, int index) {
  const nvml_gpu *g = &m->gpus[index];
  char name[16];
  snprintf(name, sizeof name, "cuda:%d", index);
  json_t *json = json_pack(
      "{s:s, s:s, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name", name, "kind", "cuda",
      "description", text(g->name), "uuid", g->uuid, "bus_id", text(g->bus_id), "memory",
      memory_of(g->memory_total, g->memory_used, g->memory_free), "utilisation",
      known(g->utilisation), "memory_utilisation", known(g->memory_utilisation), "temperature",
      known(g->temperature), "power", watts(g->power), "power_limit", watts(g->power_limit));
  json_t *bfloat16 = g->capability[0] < 0 ? json_null() : json_boolean(!has_no_bfloat16(g));
  json_t *more = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:n}", "compute_capability",
                           capability_of(g), "bfloat16", bfloat16, "fan", known(g->fan), "sm_clock",
                           known(g->sm_clock), "memory_clock", known(g->memory_clock), "processes",
                           processes_of(m, g), "sessions", sessions_on(m, g->uuid), "closed",
                           m->closed[index + 1], "reservation");
  json_object_update(json, more);
  json_decref(more);
  return json;
}

static json_t *all_json(const struct monitor *m) {
  json_t *devices = json_array(), *unavailable = json_array();
  json_array_append_new(devices, cpu_json(m));
  for (int i = 0; i < m->n_gpus; i++) json_array_append_new(devices, gpu_json(m, i));
  if (!m->n_gpus)
    json_array_append_new(unavailable,
                          json_pack("{s:s, s:o}", "kind", "cuda", "reason", text(m->reason)));
  return json_pack("{s:o, s:o}", "devices", devices, "unavailable", unavailable);
}

json_t *monitor_json(monitor *m) {
  pthread_mutex_lock(&m->mutex);
  json_t *json = all_json(m);
  pthread_mutex_unlock(&m->mutex);
  return json;
}

/* ---- for the queue ---- */

static void add_runs(const struct monitor *m, device_state *d, const nvml_gpu *g) {
  int64_t ours = 0;
  for (int i = 0; i < m->n_jobs; i++) {
    const device_run *j = &m->jobs[i];
    int64_t has = g ? 0 : resident(j->pid);
    if (strcmp(j->device, g ? g->uuid : "cpu") != 0 || d->n_running == CHOOSE_MOST_RUNNING)
      continue;
    for (int k = 0; g && k < g->n_processes; k++)
      if (g->processes[k].pid == j->pid && g->processes[k].memory > 0) has = g->processes[k].memory;
    int64_t need = g ? j->need_gpu : j->need_cpu;
    d->running[d->n_running++] = has > need ? has : need;
    ours += has;
  }
  d->foreign = d->foreign > ours ? d->foreign - ours : 0;
}

/* Whether somebody else computes or draws on the card. */
static bool has_others(const struct monitor *m, const nvml_gpu *g) {
  for (int i = 0; i < g->n_processes; i++) {
    bool ours = g->processes[i].pid == getpid();
    for (int k = 0; k < m->n_jobs; k++) ours = ours || m->jobs[k].pid == g->processes[i].pid;
    if (!ours) return true;
  }
  return false;
}

int monitor_states(monitor *m, device_state list[CHOOSE_MOST_DEVICES]) {
  int slots = (int)setting(m->context->store, "sessions_per_device");
  pthread_mutex_lock(&m->mutex);
  m->n_jobs = list_runs(m, m->jobs, CHOOSE_MOST_RUNNING); /* as it is now */
  list[0] = (device_state){.name = "cpu",
                           .closed = m->closed[0],
                           .no_bfloat16 = !m->cpu.bfloat16,
                           .slots = slots,
                           .total = m->cpu.memory_total,
                           .foreign = m->cpu.memory_total - m->cpu.memory_available};
  add_runs(m, &list[0], NULL);
  for (int i = 0; i < m->n_gpus; i++) {
    const nvml_gpu *g = &m->gpus[i];
    device_state *d = &list[i + 1];
    *d = (device_state){.gpu = true,
                        .closed = m->closed[i + 1],
                        .no_bfloat16 = has_no_bfloat16(g),
                        .others = has_others(m, g),
                        .slots = slots,
                        .total = g->memory_total,
                        .foreign = g->memory_total - g->memory_free};
    snprintf(d->name, sizeof d->name, "cuda:%d", i);
    memcpy(d->uuid, g->uuid, sizeof d->uuid);
    add_runs(m, d, g);
  }
  int n = m->n_gpus + 1;
  pthread_mutex_unlock(&m->mutex);
  return n;
}

/* ---- for the history ---- */

static double held_by(const device_run *j, const nvml_gpu *g) {
  if (!g) return (double)resident(j->pid);
  for (int k = 0; k < g->n_processes; k++)
    if (g->processes[k].pid == j->pid && g->processes[k].memory > 0)
      return (double)g->processes[k].memory;
  return 0;
}

static void add_people(const struct monitor *m, device_reading *r, const nvml_gpu *g) {
  for (int i = 0; i < m->n_jobs; i++) {
    const device_run *j = &m->jobs[i];
    int at = 0;
    if (strcmp(j->device, r->id) != 0) continue;
    while (at < r->n_people && r->people[at].user != j->owner) at++;
    if (at == READING_MOST_PEOPLE) continue;
    if (at == r->n_people) r->people[r->n_people++] = (reading_person){.user = j->owner};
    r->people[at].memory += held_by(j, g);
  }
}

static double measured(int64_t value, double scale) {
  return value < 0 ? NAN : (double)value * scale;
}

int monitor_readings(monitor *m, device_reading list[CHOOSE_MOST_DEVICES]) {
  pthread_mutex_lock(&m->mutex);
  int n = context_monotonic() - m->looked < OLD_SECONDS ? m->n_gpus + 1 : 0;
  for (int i = 0; i < n; i++) {
    const nvml_gpu *g = i ? &m->gpus[i - 1] : NULL;
    int64_t used = g ? g->memory_used : m->cpu.memory_total - m->cpu.memory_available;
    list[i] = (device_reading){.figures = {g ? measured(g->utilisation, 1) : m->cpu.load * 100,
                                           measured(used, 1), g ? measured(g->power, 1e-3) : NAN,
                                           g ? measured(g->temperature, 1) : NAN}};
    snprintf(list[i].id, sizeof list[i].id, "%s", g ? g->uuid : "cpu");
    add_people(m, &list[i], g);
  }
  pthread_mutex_unlock(&m->mutex);
  return n;
}

/* ---- metrics ---- */

void monitor_metrics(monitor *m, monitor_put put, void *page) {
  char host[128] = "";
  gethostname(host, sizeof host - 1);
  pthread_mutex_lock(&m->mutex);
  for (int i = 0; i < m->n_gpus; i++) {
    const nvml_gpu *g = &m->gpus[i];
    char labels[512];
    snprintf(labels, sizeof labels,
             "gpu=\"%d\",UUID=\"%s\",pci_bus_id=\"%s\",device=\"nvidia%d\",modelName=\"%s\","
             "Hostname=\"%s\"",
             i, g->uuid, g->bus_id, i, g->name, host);
    const struct {
      const char *name;
      int64_t value;
      double scale;
    } values[] = {{"DCGM_FI_DEV_GPU_UTIL", g->utilisation, 1},
                  {"DCGM_FI_DEV_FB_USED", g->memory_used, 1.0 / 1048576},
                  {"DCGM_FI_DEV_FB_FREE", g->memory_free, 1.0 / 1048576},
                  {"DCGM_FI_DEV_GPU_TEMP", g->temperature, 1},
                  {"DCGM_FI_DEV_POWER_USAGE", g->power, 1e-3},
                  {"DCGM_FI_DEV_SM_CLOCK", g->sm_clock, 1},
                  {"DCGM_FI_DEV_MEM_CLOCK", g->memory_clock, 1}};
    for (size_t k = 0; k < sizeof values / sizeof *values; k++)
      if (values[k].value >= 0)
        put(page, values[k].name, labels, (double)values[k].value * values[k].scale);
  }
  pthread_mutex_unlock(&m->mutex);
}

/* ---- the thread ---- */

/* What counts as a change: steps that a person would notice. */
static void sign(const struct monitor *m, char *out, size_t size) {
  size_t at = 0;
#define ADD(...)                                                                                   \
  do {                                                                                             \
    if (at < size) at += (size_t)snprintf(out + at, size - at, __VA_ARGS__);                       \
  } while (0)
  ADD("%d %lld %lld %d", (int)(m->cpu.load * 20), (long long)(m->cpu.memory_available >> 27),
      (long long)(m->cpu.disk_free >> 30), m->closed[0]);
  for (int i = 0; i < m->n_gpus; i++) {
    const nvml_gpu *g = &m->gpus[i];
    ADD("|%s %lld %lld %lld %lld %d", g->uuid, (long long)(g->memory_used >> 24),
        (long long)(g->utilisation / 5), (long long)(g->temperature / 2),
        (long long)(g->power / 10000), m->closed[i + 1]);
    for (int k = 0; k < g->n_processes; k++) ADD(" %lld", (long long)g->processes[k].pid);
  }
  for (int i = 0; i < m->n_jobs; i++) ADD(";%lld", (long long)m->jobs[i].session);
#undef ADD
}

static void tell_changes(monitor *m) {
  char signature[sizeof m->signature];
  json_t *json = NULL;
  pthread_mutex_lock(&m->mutex);
  sign(m, signature, sizeof signature);
  if (strcmp(signature, m->signature) != 0) {
    memcpy(m->signature, signature, sizeof signature);
    json = all_json(m);
  }
  pthread_mutex_unlock(&m->mutex);
  if (json) event_send(m->context, "devices", EVENT_FOR_ALL, 0, json);
}

static void *watch(void *arg) {
  monitor *m = arg;
  pthread_mutex_lock(&m->mutex);
  while (!m->stop) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += EVERY_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) until.tv_nsec -= 1000000000L, until.tv_sec++;
    if (!m->again) pthread_cond_timedwait(&m->wake, &m->mutex, &until);
    m->again = false;
    bool stop = m->stop;
    pthread_mutex_unlock(&m->mutex);
    if (!stop) {
      look(m);
      tell_changes(m);
      tell_source(m);
    }
    pthread_mutex_lock(&m->mutex);
  }
  pthread_mutex_unlock(&m->mutex);
  return NULL;
}

void monitor_wake(monitor *m) {
  pthread_mutex_lock(&m->mutex);
  m->again = true;
  pthread_cond_signal(&m->wake);
  pthread_mutex_unlock(&m->mutex);
}

monitor *monitor_create(const context *c) {
  monitor *m = calloc(1, sizeof *m);
  if (!m) return NULL;
  m->context = c;
  pthread_mutex_init(&m->mutex, NULL);
  pthread_mutex_init(&m->source_mutex, NULL);
  pthread_cond_init(&m->wake, NULL);
  m->nvml = nvml_open(m->reason, sizeof m->reason);
  read_model(&m->cpu);
  read_bfloat16(&m->cpu);
  look(m);
  return m;
}

bool monitor_start(monitor *m) {
  m->started = pthread_create(&m->thread, NULL, watch, m) == 0;
  return m->started;
}

void monitor_stop(monitor *m) {
  if (!m) return;
  pthread_mutex_lock(&m->mutex);
  m->stop = true;
  pthread_cond_signal(&m->wake);
  pthread_mutex_unlock(&m->mutex);
  if (m->started) pthread_join(m->thread, NULL);
  m->started = false;
}

void monitor_destroy(monitor *m) {
  if (!m) return;
  nvml_close(m->nvml);
  pthread_mutex_destroy(&m->mutex);
  pthread_mutex_destroy(&m->source_mutex);
  pthread_cond_destroy(&m->wake);
  free(m);
}
