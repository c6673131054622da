/* webml-bench precision [--rounds N] [--json FILE] [--peer COMMAND]: training on the CPU in float32
 * and in mixed_bfloat16, interleaved: the reference network, whose time goes into moving weights,
 * and a deeper one, whose time goes into convolutions. The peer is started for each of the four
 * with a precision and a network ("reference" or "deep") behind its command. */
#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONV(filters)                                                                              \
  "{\"type\":\"Conv2D\",\"layer\":{\"filters\":" filters                                           \
  ",\"kernel_size\":3,\"padding\":\"same\",\"activation\":\"relu\"}},"
#define POOL "{\"type\":\"MaxPooling2D\",\"layer\":{}},"

static const char deep[] =
    "{\"size\":[32,32,3],\"optimizer\":\"adam\",\"loss\":\"categorical_crossentropy\","
    "\"layers\":[" CONV("64") CONV("64") POOL CONV("128") CONV("128") POOL CONV("256") CONV("256")
        POOL "{\"type\":\"Flatten\",\"layer\":{}},"
             "{\"type\":\"Dense\",\"layer\":{\"units\":256,\"activation\":\"relu\"}},"
             "{\"type\":\"Dense\",\"layer\":{\"units\":10,\"activation\":\"softmax\"}}]}";

enum { NETWORKS = 2, PRECISIONS = 2, STEPS = 16 };
static const char *const network_names[NETWORKS] = {"reference", "deep"};
static const wml_precision precisions[PRECISIONS] = {WML_FLOAT32, WML_MIXED_BFLOAT16};

typedef struct contender {
  char name[96];
  bench_network network;
  bench_peer peer; /* where `peers` */
  bench_series own, theirs;
} contender;

static void print_series(FILE *f, const char *name, const bench_series *s) {
  fprintf(f, "\"%s\": {\"median\": %.6g, \"p10\": %.6g, \"p90\": %.6g, \"runs\": %d}", name,
          bench_median(s), bench_quantile(s, 0.1), bench_quantile(s, 0.9), s->n);
}

static void print_json(const char *path, const contender *list, const char *device, bool peers) {
  FILE *f = fopen(path, "w");
  if (!f) bench_die(path);
  bench_json_head(f, device);
  fputs("  \"unit\": \"images/s\",\n", f);
  for (int i = 0; i < NETWORKS * PRECISIONS; i++) {
    fprintf(f, "  \"%s\": {", list[i].name);
    print_series(f, "webml", &list[i].own);
    if (peers) fputs(", ", f), print_series(f, "peer", &list[i].theirs);
    fprintf(f, "}%s\n", i + 1 < NETWORKS * PRECISIONS ? "," : "");
  }
  fputs("}\n", f);
  fclose(f);
}

int bench_precision(int threads, int argc, char **argv) {
  static contender list[NETWORKS * PRECISIONS];
  bench_rig rig = {0};
  char device[200];
  int rounds = 9, n = 0;
  const char *json = NULL, *command = NULL;
  for (int i = 0; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--rounds") == 0) rounds = atoi(argv[i + 1]);
    if (strcmp(argv[i], "--json") == 0) json = argv[i + 1];
    if (strcmp(argv[i], "--peer") == 0) command = argv[i + 1];
  }
  for (int k = 0; k < NETWORKS; k++)
    for (int p = 0; p < PRECISIONS; p++) {
      contender *c = &list[n++];
      const char *precision = wml_precision_name(precisions[p]);
      snprintf(c->name, sizeof c->name, "%s network, %s", network_names[k], precision);
      c->network = (bench_network){.description = k ? deep : NULL, .precision = precisions[p]};
      bool has = bench_rig_open(&rig, threads, &c->network);
      snprintf(device, sizeof device, "%s", wml_backend_cpu.identity(rig.device));
      bench_rig_close(&rig);
      if (!has) return printf("SKIP %s: %s\n", c->name, webml_last_error()), 0;
      char line[4096];
      snprintf(line, sizeof line, "%s %s %s", command ? command : "", precision, network_names[k]);
      if (command && !bench_peer_open(&c->peer, line)) bench_die(line);
    }
  for (int round = 0; round < rounds; round++)
    for (int i = 0; i < n; i++) {
      bench_add(&list[i].own, bench_training(threads, &list[i].network, STEPS));
      if (command) bench_add(&list[i].theirs, bench_peer_round(&list[i].peer));
    }
  for (int i = 0; i < n; i++) {
    const contender *c = &list[i];
    printf("%-36s %8.0f images/s  (%.0f to %.0f)", c->name, bench_median(&c->own),
           bench_quantile(&c->own, 0.1), bench_quantile(&c->own, 0.9));
    if (command)
      printf("   peer %6.0f  (%.0f to %.0f)", bench_median(&c->theirs),
             bench_quantile(&c->theirs, 0.1), bench_quantile(&c->theirs, 0.9));
    putchar('\n');
  }
  for (int k = 0; k < NETWORKS; k++)
    printf("%s: bfloat16 is %.2f times float32\n", network_names[k],
           bench_median(&list[2 * k + 1].own) / bench_median(&list[2 * k].own));
  if (json) print_json(json, list, device, command != NULL);
  return 0;
}
