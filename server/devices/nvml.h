/* NVIDIA GPUs and who uses them, by the driver's management library. It is opened by its name when
 * the program runs; a machine without it has no GPUs. One thread at a time. */
#ifndef SERVER_DEVICES_NVML_H
#define SERVER_DEVICES_NVML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NVML_MOST_GPUS = 32, NVML_MOST_PROCESSES = 64 };

/* What a card does not measure is -1. */
typedef struct nvml_process {
  int64_t pid, memory;
} nvml_process;

typedef struct nvml_gpu {
  char uuid[96], name[96], bus_id[32];
  int capability[2];                              /* compute capability: 9, 0; -1: not known */
  int64_t memory_total, memory_used, memory_free; /* bytes */
  int64_t utilisation, memory_utilisation, fan;   /* per cent */
  int64_t temperature;                            /* degrees Celsius */
  int64_t power, power_limit;                     /* milliwatts */
  int64_t sm_clock, memory_clock;                 /* MHz */
  int n_processes;
  nvml_process processes[NVML_MOST_PROCESSES];
} nvml_gpu;

typedef struct nvml nvml;

/* NULL with a sentence why there is none. */
nvml *nvml_open(char *reason, size_t size);
void nvml_close(nvml *n);
/* The GPUs in the order of their buses, at most NVML_MOST_GPUS; -1 with a sentence: it stopped
 * working. One that has failed is left out. */
int nvml_read(nvml *n, nvml_gpu *gpus, char *reason, size_t size);

#endif
