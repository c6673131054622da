/* Which device a training gets, and who may pass whom: every order of ends for small machines. */
#include "devices/choose.h"
#include "support.h"

#include <stdio.h>
#include <string.h>

static const int64_t GB = 1000000000;

static device_state cpu(int64_t total, int slots) {
  return (device_state){.name = "cpu", .total = total * GB, .slots = slots};
}

static device_state card(int index, int64_t total, int64_t foreign, int slots) {
  device_state d = {.gpu = true, .total = total * GB, .foreign = foreign * GB, .slots = slots};
  snprintf(d.name, sizeof d.name, "cuda:%d", index);
  snprintf(d.uuid, sizeof d.uuid, "GPU-%d", index);
  return d;
}

static void put(device_state *d, int64_t gigabytes) {
  d->running[d->n_running++] = gigabytes * GB;
}

static device_need need(const char *wanted, int64_t on_cpu, int64_t on_gpu) {
  return (device_need){.wanted = wanted, .on_cpu = on_cpu * GB, .on_gpu = on_gpu * GB};
}

static int choose(const device_state *list, int n, device_need wanted, bool *ever) {
  return device_choose(list, n, &wanted, ever);
}

static void test_choice(void) {
  bool ever;
  device_state list[] = {cpu(64, 1), card(0, 24, 4, 1), card(1, 80, 70, 1), card(2, 40, 5, 1)};
  CHECK(choose(list, 4, need("auto", 2, 3), &ever) == 3 && ever); /* most free */
  CHECK(choose(list, 4, need("cuda", 2, 3), &ever) == 3);
  CHECK(choose(list, 4, need("cuda:0", 2, 3), &ever) == 1);
  CHECK(choose(list, 4, need("GPU-1", 2, 3), &ever) == 2);
  CHECK(choose(list, 4, need("cpu", 2, 3), &ever) == 0);
  CHECK(choose(list, 4, need("GPU-9", 2, 3), &ever) == -1 && !ever);
  CHECK(choose(list, 4, need("auto", 2, 60), &ever) == -1 && ever); /* card 1, when it is free */
  CHECK(choose(list, 4, need("auto", 2, 90), &ever) == 0);          /* no card will ever do */
  CHECK(choose(list, 4, need("auto", 90, 90), &ever) == -1 && !ever);
  list[3].closed = true;
  CHECK(choose(list, 4, need("auto", 2, 3), &ever) == 1);
  put(&list[1], 1);
  CHECK(choose(list, 4, need("auto", 2, 3), &ever) == 2); /* one at a time */
  CHECK(choose(list, 4, need("auto", 2, 12), &ever) == -1 && ever);
  CHECK(choose(list, 1, need("auto", 2, 3), &ever) == 0); /* a machine without cards */
}

static void test_bfloat16(void) {
  bool ever;
  char why[160];
  device_state list[] = {cpu(64, 1), card(0, 24, 4, 1), card(1, 80, 70, 1)};
  device_need n = need("auto", 2, 3);
  list[1].no_bfloat16 = true;
  CHECK(device_choose(list, 3, &n, &ever) == 1);
  n.bfloat16 = true;
  CHECK(device_choose(list, 3, &n, &ever) == 2); /* the one that can, with less free memory */
  CHECK(device_fits(&list[1], &n, why, sizeof why) == UNABLE && strstr(why, "bfloat16"));
  list[2].no_bfloat16 = true;
  CHECK(device_choose(list, 3, &n, &ever) == 0 && ever); /* no card ever: the CPU */
  list[0].no_bfloat16 = true;
  CHECK(device_choose(list, 3, &n, &ever) == -1 && !ever);
  n.wanted = "cuda:0";
  CHECK(device_choose(list, 3, &n, &ever) == -1 && !ever);
}

static void test_reasons(void) {
  char why[160];
  device_state d = card(0, 24, 4, 2);
  device_need n = need("auto", 1, 21);
  CHECK(device_fits(&d, &n, why, sizeof why) == LATER && strstr(why, "21.00") &&
        strstr(why, "20.00 of 24.00"));
  n.on_gpu = 25 * GB;
  CHECK(device_fits(&d, &n, why, sizeof why) == NEVER && strstr(why, "24.00 in all"));
  n.on_gpu = GB;
  CHECK(device_fits(&d, &n, why, sizeof why) == FITS && !why[0]);
  put(&d, 1), put(&d, 1);
  CHECK(device_fits(&d, &n, why, sizeof why) == LATER && strstr(why, "2 trainings run"));
  d.closed = true;
  CHECK(device_fits(&d, &n, why, sizeof why) == CLOSED && strstr(why, "closed"));
  n.wanted = "cpu";
  CHECK(device_fits(&d, &n, why, sizeof why) == NOT_WANTED);
}

static bool delays(device_state d, device_need blocked, device_need other) {
  return device_delays(&d, &blocked, &other);
}

static void test_passing(void) {
  device_state d = card(0, 80, 0, 4);
  put(&d, 50);
  /* 60 of 80 are needed, 30 are free: when the 50 end, 10 more do not matter, 30 do. */
  CHECK(!delays(d, need("auto", 1, 60), need("auto", 1, 10)));
  CHECK(delays(d, need("auto", 1, 60), need("auto", 1, 30)));
  /* Two run: the blocked one could start when either ends. */
  put(&d, 20);
  CHECK(!delays(d, need("auto", 1, 25), need("auto", 1, 5)));
  CHECK(delays(d, need("auto", 1, 30), need("auto", 1, 5)));
  /* The last place is the blocked one's. */
  d = card(0, 80, 0, 2);
  put(&d, 70);
  CHECK(!delays(d, need("auto", 1, 20), need("auto", 1, 5)));
  d.slots = 1;
  CHECK(delays(d, need("auto", 1, 20), need("auto", 1, 5)));
  /* What never can run here, or wants another device, is not in anybody's way. */
  d = card(0, 24, 0, 1);
  CHECK(!delays(d, need("auto", 1, 60), need("auto", 1, 5)));
  CHECK(!delays(d, need("GPU-1", 1, 6), need("auto", 1, 5)));
}

int main(void) {
  test_choice();
  test_bfloat16();
  test_reasons();
  test_passing();
  return test_report();
}
