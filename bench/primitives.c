#include "bench.h"
#include "kernels/cpu/vec.h"

#include <dnnl.h>
#include <omp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ITEMS = 24 };

/* One primitive in one layout. Items of the same name are alternatives: the fastest counts. */
typedef struct item {
  const char *name, *layout;
  dnnl_primitive_t primitive;
  int n_args;
  dnnl_exec_arg_t args[8];
  bench_series times;
} item;

struct bench_primitives {
  dnnl_engine_t engine;
  dnnl_stream_t stream;
  int threads, n;
  item items[MAX_ITEMS];
  int64_t params;
  float *adam[4];
  double took; /* milliseconds of the last round */
};

static void must(dnnl_status_t status, const char *what) {
  if (status == dnnl_success) return;
  fprintf(stderr, "webml-bench: %s: status %d\n", what, (int)status);
  exit(1);
}

static void add(bench_primitives *p, const char *name, const char *layout, dnnl_primitive_desc_t pd,
                int n, const int *args, const dnnl_query_t *what, const int *index) {
  item *it = &p->items[p->n++];
  it->name = name;
  it->layout = layout;
  must(dnnl_primitive_create(&it->primitive, pd), name);
  for (int i = 0; i < n; i++) {
    const dnnl_memory_desc_t *md = dnnl_primitive_desc_query_md(pd, what[i], index[i]);
    size_t bytes = dnnl_memory_desc_get_size(md);
    void *data = aligned_alloc(64, (bytes + 127) / 64 * 64);
    for (size_t k = 0; k < bytes / 4; k++) ((float *)data)[k] = (float)(k % 17) * 0.01f;
    it->args[it->n_args].arg = args[i];
    must(dnnl_memory_create(&it->args[it->n_args++].memory, md, p->engine, data), "memory");
  }
}

static void describe(dnnl_memory_desc_t *md, int64_t n, int64_t c, int64_t s,
                     dnnl_format_tag_t tag) {
  dnnl_dims_t d = {n, c, s, s};
  must(dnnl_memory_desc_init_by_tag(md, 4, d, dnnl_f32, tag), "memory_desc");
}

static void add_conv(bench_primitives *p, const char *names[3], int64_t n, int64_t c, int64_t s,
                     int64_t f, int64_t k, int own, int first) {
  const char *layout = own ? "own" : "nhwc";
  dnnl_memory_desc_t x, w, b, y;
  dnnl_dims_t wd = {f, c, k, k}, bd = {f}, one = {1, 1}, zero = {0, 0};
  describe(&x, n, c, s, own ? (first ? dnnl_nchw : dnnl_format_tag_any) : dnnl_nhwc);
  describe(&y, n, f, s - k + 1, own ? dnnl_format_tag_any : dnnl_nhwc);
  dnnl_memory_desc_init_by_tag(&w, 4, wd, dnnl_f32, dnnl_format_tag_any);
  dnnl_memory_desc_init_by_tag(&b, 1, bd, dnnl_f32, dnnl_x);
  dnnl_primitive_attr_t attr;
  dnnl_post_ops_t ops;
  dnnl_primitive_attr_create(&attr);
  dnnl_post_ops_create(&ops);
  dnnl_post_ops_append_eltwise(ops, 1, dnnl_eltwise_relu, 0, 0);
  dnnl_primitive_attr_set_post_ops(attr, ops);
  dnnl_convolution_desc_t d;
  dnnl_primitive_desc_t forward, pd;
  must(dnnl_convolution_forward_desc_init(&d, dnnl_forward_training, dnnl_convolution_direct, &x,
                                          &w, &b, &y, one, zero, zero),
       "conv");
  must(dnnl_primitive_desc_create(&forward, &d, attr, p->engine, NULL), "conv");
  add(p, names[0], layout, forward, 4,
      (int[]){DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS, DNNL_ARG_DST},
      (dnnl_query_t[]){dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_weights_md,
                       dnnl_query_dst_md},
      (int[]){0, 0, 1, 0});
  if (names[1]) {
    must(dnnl_convolution_backward_data_desc_init(&d, dnnl_convolution_direct, &x, &w, &y, one,
                                                  zero, zero),
         "conv");
    must(dnnl_primitive_desc_create(&pd, &d, NULL, p->engine, forward), "conv");
    add(p, names[1], layout, pd, 3, (int[]){DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST},
        (dnnl_query_t[]){dnnl_query_diff_src_md, dnnl_query_weights_md, dnnl_query_diff_dst_md},
        (int[]){0, 0, 0});
  }
  must(dnnl_convolution_backward_weights_desc_init(&d, dnnl_convolution_direct, &x, &w, &b, &y, one,
                                                   zero, zero),
       "conv");
  must(dnnl_primitive_desc_create(&pd, &d, NULL, p->engine, forward), "conv");
  add(p, names[2], layout, pd, 4,
      (int[]){DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_BIAS, DNNL_ARG_DIFF_DST},
      (dnnl_query_t[]){dnnl_query_src_md, dnnl_query_diff_weights_md, dnnl_query_diff_weights_md,
                       dnnl_query_diff_dst_md},
      (int[]){0, 0, 1, 0});
}

static void add_pool(bench_primitives *p, int64_t n, int64_t c, int64_t s, dnnl_format_tag_t tag,
                     const char *layout) {
  dnnl_memory_desc_t x, y;
  dnnl_dims_t two = {2, 2}, zero = {0, 0};
  describe(&x, n, c, s, tag);
  describe(&y, n, c, s / 2, tag);
  dnnl_pooling_desc_t d;
  dnnl_primitive_desc_t forward, pd;
  must(dnnl_pooling_forward_desc_init(&d, dnnl_forward_training, dnnl_pooling_max, &x, &y, two, two,
                                      zero, zero),
       "pool");
  must(dnnl_primitive_desc_create(&forward, &d, NULL, p->engine, NULL), "pool");
  add(p, "pool forward", layout, forward, 3,
      (int[]){DNNL_ARG_SRC, DNNL_ARG_DST, DNNL_ARG_WORKSPACE},
      (dnnl_query_t[]){dnnl_query_src_md, dnnl_query_dst_md, dnnl_query_workspace_md},
      (int[]){0, 0, 0});
  must(dnnl_pooling_backward_desc_init(&d, dnnl_pooling_max, &x, &y, two, two, zero, zero), "pool");
  must(dnnl_primitive_desc_create(&pd, &d, NULL, p->engine, forward), "pool");
  add(p, "pool backward", layout, pd, 3,
      (int[]){DNNL_ARG_DIFF_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_WORKSPACE},
      (dnnl_query_t[]){dnnl_query_diff_src_md, dnnl_query_diff_dst_md, dnnl_query_workspace_md},
      (int[]){0, 0, 0});
}

static void add_dense(bench_primitives *p, const char *names[3], int64_t n, int64_t in, int64_t out,
                      dnnl_format_tag_t tag, const char *layout) {
  dnnl_memory_desc_t x, w, b, y;
  dnnl_dims_t xd = {n, in}, wd = {out, in}, bd = {out}, yd = {n, out};
  dnnl_memory_desc_init_by_tag(&x, 2, xd, dnnl_f32, dnnl_nc);
  dnnl_memory_desc_init_by_tag(&w, 2, wd, dnnl_f32, tag);
  dnnl_memory_desc_init_by_tag(&b, 1, bd, dnnl_f32, dnnl_x);
  dnnl_memory_desc_init_by_tag(&y, 2, yd, dnnl_f32, dnnl_nc);
  dnnl_inner_product_desc_t d;
  dnnl_primitive_desc_t forward, pd;
  must(dnnl_inner_product_forward_desc_init(&d, dnnl_forward_training, &x, &w, &b, &y), "dense");
  must(dnnl_primitive_desc_create(&forward, &d, NULL, p->engine, NULL), "dense");
  add(p, names[0], layout, forward, 4,
      (int[]){DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS, DNNL_ARG_DST},
      (dnnl_query_t[]){dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_weights_md,
                       dnnl_query_dst_md},
      (int[]){0, 0, 1, 0});
  must(dnnl_inner_product_backward_data_desc_init(&d, &x, &w, &y), "dense");
  must(dnnl_primitive_desc_create(&pd, &d, NULL, p->engine, forward), "dense");
  add(p, names[1], layout, pd, 3, (int[]){DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST},
      (dnnl_query_t[]){dnnl_query_diff_src_md, dnnl_query_weights_md, dnnl_query_diff_dst_md},
      (int[]){0, 0, 0});
  must(dnnl_inner_product_backward_weights_desc_init(&d, &x, &w, &b, &y), "dense");
  must(dnnl_primitive_desc_create(&pd, &d, NULL, p->engine, forward), "dense");
  add(p, names[2], layout, pd, 4,
      (int[]){DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_BIAS, DNNL_ARG_DIFF_DST},
      (dnnl_query_t[]){dnnl_query_src_md, dnnl_query_diff_weights_md, dnnl_query_diff_weights_md,
                       dnnl_query_diff_dst_md},
      (int[]){0, 0, 1, 0});
}

bench_primitives *bench_primitives_create(int threads, int64_t n) {
  bench_primitives *p = calloc(1, sizeof *p);
  p->threads = threads;
  p->params = 7394123;
  omp_set_num_threads(threads);
  must(dnnl_engine_create(&p->engine, dnnl_cpu, 0), "engine");
  must(dnnl_stream_create(&p->stream, p->engine, dnnl_stream_default_flags), "stream");
  for (int own = 0; own < 2; own++) {
    add_conv(p, (const char *[]){"conv1 forward", NULL, "conv1 weights"}, n, 3, 64, 64, 3, own, 1);
    add_conv(p, (const char *[]){"conv2 forward", "conv2 data", "conv2 weights"}, n, 64, 31, 32, 2,
             own, 0);
    add_pool(p, n, 64, 62, own ? dnnl_nChw8c : dnnl_nhwc, own ? "own" : "nhwc");
    add_dense(p, (const char *[]){"dense1 forward", "dense1 data", "dense1 weights"}, n, 28800, 256,
              own ? dnnl_oi : dnnl_io, own ? "oi" : "io");
  }
  add_dense(p, (const char *[]){"dense2 forward", "dense2 data", "dense2 weights"}, n, 256, 43,
            dnnl_oi, "oi");
  for (int i = 0; i < 4; i++) {
    p->adam[i] = aligned_alloc(64, (size_t)(p->params + 16) / 16 * 64);
    for (int64_t k = 0; k < p->params; k++) p->adam[i][k] = 0.001f;
  }
  return p;
}

static double adam_pass(bench_primitives *p) {
  wml_optimizer o = {.kind = WML_ADAM, .beta_1 = 0.9f, .beta_2 = 0.999f, .epsilon = 1e-7f};
  wml_optimizer_step step = wml_optimizer_prepare(&o, 1e-3f, 10);
  vec_update u = {&o, &step, p->adam[0], p->adam[1], p->adam[2], p->adam[3], p->adam[1], 1.0f};
  const vec_table *vec = vec_choose();
  double start = bench_now();
  int64_t parts = p->threads;
#pragma omp parallel for num_threads((int)parts)
  for (int64_t i = 0; i < parts; i++)
    vec->update(&u, p->params * i / parts, p->params * (i + 1) / parts);
  return (bench_now() - start) * 1e3;
}

static double best_of(const bench_primitives *p, int i) {
  double best = bench_median(&p->items[i].times);
  for (int k = 0; k < p->n; k++)
    if (strcmp(p->items[k].name, p->items[i].name) == 0 && bench_median(&p->items[k].times) < best)
      best = bench_median(&p->items[k].times);
  return best;
}

static double round_of(bench_primitives *p) {
  double total = adam_pass(p);
  for (int i = 0; i < p->n; i++) {
    item *it = &p->items[i];
    double least = 1e30;
    for (int k = 0; k < 3; k++) {
      double start = bench_now();
      dnnl_primitive_execute(it->primitive, p->stream, it->n_args, it->args);
      dnnl_stream_wait(p->stream);
      double took = (bench_now() - start) * 1e3;
      if (took < least) least = took;
    }
    bench_add(&it->times, least);
  }
  for (int i = 0; i < p->n; i++) {
    int first = 0;
    while (strcmp(p->items[first].name, p->items[i].name) != 0) first++;
    if (first == i) total += best_of(p, i);
  }
  return total;
}

static void *round_on_thread(void *arg) {
  bench_primitives *p = arg;
  omp_set_num_threads(p->threads);
  p->took = round_of(p);
  return NULL;
}

/* On a thread of its own, whose team ends with it. */
double bench_primitives_round(bench_primitives *p) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, round_on_thread, p) != 0) bench_die("a thread");
  pthread_join(thread, NULL);
  return p->took;
}

void bench_primitives_print(const bench_primitives *p) {
  for (int i = 0; i < p->n; i++)
    printf("    %-16s %-5s %7.2f ms\n", p->items[i].name, p->items[i].layout,
           bench_median(&p->items[i].times));
}
