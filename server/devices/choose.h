/* Which device a training gets, and whether another one may go before it. Pure arithmetic over a
 * picture of the machine. Bytes throughout. */
#ifndef SERVER_DEVICES_CHOOSE_H
#define SERVER_DEVICES_CHOOSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CHOOSE_MOST_DEVICES = 33, CHOOSE_MOST_RUNNING = 64 };

typedef struct device_state {
  char name[16], uuid[96];
  bool gpu, closed;
  bool no_bfloat16; /* known to have none */
  bool others;      /* processes that are not this server's are on it */
  int64_t total;
  int64_t foreign; /* taken by what is not a training of this server */
  int slots;       /* trainings at a time */
  int n_running;
  int64_t running[CHOOSE_MOST_RUNNING]; /* what each of them needs, or has where that is more */
} device_state;

typedef struct device_need {
  const char *wanted;     /* "auto", "cpu", "cuda", "cuda:N" or a UUID */
  int64_t on_cpu, on_gpu; /* 0: not known */
  bool bfloat16;          /* it must compute in it */
} device_need;

typedef enum device_fit {
  FITS,
  LATER,     /* when something ends */
  NEVER,     /* too small in all */
  CLOSED,    /* by an administrator */
  UNABLE,    /* to compute in bfloat16 */
  NOT_WANTED /* another one was named */
} device_fit;

/* Whether the training fits onto the device now; `why` gets a sentence where it does not. */
device_fit device_fits(const device_state *d, const device_need *need, char *why, size_t size);

/* Whether the training asks for this device, among others or by name. */
bool device_is_wanted(const device_state *d, const char *wanted);

/* The device: of the GPUs that fit now the one with the most free memory; the CPU when it is named,
 * or when "auto" was asked for and no GPU will ever do. -1: none now; *ever says whether waiting
 * helps. */
int device_choose(const device_state *list, int n, const device_need *need, bool *ever);

/* Whether starting `other` on d now could delay the start of `blocked`, which waits: whether there
 * is an order of ends after which blocked would fit onto d without other, but not beside it. */
bool device_delays(const device_state *d, const device_need *blocked, const device_need *other);

int64_t device_free(const device_state *d);

#endif
