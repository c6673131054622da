/* A stand-in for the NVIDIA driver's management library: says what stands in the file that
 * NVML_STAND_IN names, which tests write anew while a server runs. Lines:
 *
 *   stride 32                   bytes per process, as early drivers of release 535 had it
 *   broken                      every call fails
 *   gpu UUID TOTAL USED UTILISATION TEMPERATURE POWER NAME...   MiB, %, C, mW; "-": not supported
 *   capability INDEX MAJOR MINOR   compute capability; without it: not supported
 *   process INDEX PID MEMORY    of the card of that index
 *   graphics INDEX PID MEMORY   one that draws
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, UNKNOWN = 999, MOST = 16 };

typedef struct card {
  char uuid[96], name[96], values[5][24]; /* total, used, utilisation, temperature, power */
  int capability[2];                      /* 0, 0: not supported */
} card;

typedef struct user {
  int card, graphics;
  unsigned pid;
  unsigned long long memory;
} user;

static card cards[MOST];
static user users[MOST];
static int n_cards, n_users, broken;
static size_t stride;

static void read_state(void) {
  char line[512];
  const char *path = getenv("NVML_STAND_IN");
  FILE *f = path ? fopen(path, "r") : NULL;
  n_cards = n_users = broken = 0;
  memset(cards, 0, sizeof cards);
  stride = 24;
  while (f && fgets(line, sizeof line, f)) {
    card *c = &cards[n_cards];
    user *u = &users[n_users];
    line[strcspn(line, "\n")] = '\0';
    if (strcmp(line, "broken") == 0) broken = 1;
    if (sscanf(line, "stride %zu", &stride) == 1) continue;
    if (n_cards < MOST &&
        sscanf(line, "gpu %95s %23s %23s %23s %23s %23s %95[^\n]", c->uuid, c->values[0],
               c->values[1], c->values[2], c->values[3], c->values[4], c->name) == 7)
      n_cards++;
    int index, major, minor;
    if (sscanf(line, "capability %d %d %d", &index, &major, &minor) == 3 && index < n_cards)
      cards[index].capability[0] = major, cards[index].capability[1] = minor;
    u->graphics = strncmp(line, "graphics ", 9) == 0;
    if (n_users < MOST && (sscanf(line, "process %d %u %llu", &u->card, &u->pid, &u->memory) == 3 ||
                           sscanf(line, "graphics %d %u %llu", &u->card, &u->pid, &u->memory) == 3))
      n_users++;
  }
  if (f) fclose(f);
}

#define EXPORT __attribute__((visibility("default")))
int nvmlInit_v2(void);
int nvmlShutdown(void);
const char *nvmlErrorString(int result);
int nvmlDeviceGetCount_v2(unsigned *n);
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **d);
int nvmlDeviceGetUUID(void *d, char *out, unsigned n);
int nvmlDeviceGetName(void *d, char *out, unsigned n);
int nvmlDeviceGetCudaComputeCapability(void *d, int *major, int *minor);
int nvmlDeviceGetMemoryInfo(void *d, unsigned long long out[3]);
int nvmlDeviceGetUtilizationRates(void *d, unsigned out[2]);
int nvmlDeviceGetTemperature(void *d, int sensor, unsigned *out);
int nvmlDeviceGetPowerUsage(void *d, unsigned *out);
int nvmlDeviceGetComputeRunningProcesses_v3(void *d, unsigned *n, char *out);
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *d, unsigned *n, char *out);

EXPORT int nvmlInit_v2(void) {
  read_state();
  return broken ? UNKNOWN : SUCCESS;
}
EXPORT int nvmlShutdown(void) {
  return SUCCESS;
}
EXPORT const char *nvmlErrorString(int result) {
  return result == UNKNOWN ? "Unknown Error" : "Error";
}
EXPORT int nvmlDeviceGetCount_v2(unsigned *n) {
  read_state();
  *n = (unsigned)n_cards;
  return broken ? UNKNOWN : SUCCESS;
}
EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **d) {
  *d = &cards[i];
  return i < (unsigned)n_cards ? SUCCESS : UNKNOWN;
}
EXPORT int nvmlDeviceGetUUID(void *d, char *out, unsigned n) {
  snprintf(out, n, "%s", ((card *)d)->uuid);
  return SUCCESS;
}
EXPORT int nvmlDeviceGetName(void *d, char *out, unsigned n) {
  snprintf(out, n, "%s", ((card *)d)->name);
  return SUCCESS;
}
EXPORT int nvmlDeviceGetCudaComputeCapability(void *d, int *major, int *minor) {
  *major = ((card *)d)->capability[0], *minor = ((card *)d)->capability[1];
  return *major ? SUCCESS : NOT_SUPPORTED;
}

static int value(void *d, int which, unsigned long long *out) {
  const char *text = ((card *)d)->values[which];
  if (strcmp(text, "-") == 0) return NOT_SUPPORTED;
  *out = strtoull(text, NULL, 10);
  return SUCCESS;
}

static int number(void *d, int which, unsigned *out) {
  unsigned long long v = 0;
  int result = value(d, which, &v);
  if (result == SUCCESS) *out = (unsigned)v;
  return result;
}

EXPORT int nvmlDeviceGetMemoryInfo(void *d, unsigned long long out[3]) {
  unsigned long long total = 0, used = 0;
  if (value(d, 0, &total) || value(d, 1, &used)) return NOT_SUPPORTED;
  out[0] = total << 20;
  out[1] = (total - used) << 20;
  out[2] = used << 20;
  return SUCCESS;
}
EXPORT int nvmlDeviceGetUtilizationRates(void *d, unsigned out[2]) {
  out[1] = 7;
  return number(d, 2, &out[0]);
}
EXPORT int nvmlDeviceGetTemperature(void *d, int sensor, unsigned *out) {
  return sensor ? NOT_SUPPORTED : number(d, 3, out);
}
EXPORT int nvmlDeviceGetPowerUsage(void *d, unsigned *out) {
  return number(d, 4, out);
}

static int list(void *d, unsigned *n, char *out, int graphics) {
  unsigned room = *n;
  *n = 0;
  for (int i = 0; i < n_users; i++) {
    if (&cards[users[i].card] != d || users[i].graphics != graphics) continue;
    if (*n == room) return INSUFFICIENT_SIZE;
    unsigned long long bytes = users[i].memory << 20;
    char *at = out + stride * (*n)++;
    memset(at, 0xff, stride);
    memcpy(at, &users[i].pid, sizeof users[i].pid);
    memcpy(at + 8, &bytes, sizeof bytes);
  }
  return SUCCESS;
}

EXPORT int nvmlDeviceGetComputeRunningProcesses_v3(void *d, unsigned *n, char *out) {
  return list(d, n, out, 0);
}
EXPORT int nvmlDeviceGetGraphicsRunningProcesses_v3(void *d, unsigned *n, char *out) {
  return list(d, n, out, 1);
}
