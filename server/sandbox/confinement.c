#include "confinement.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
  const char *word;
  size_t offset;
} number_words[] = {{"--memory", offsetof(confinement, memory)},
                    {"--file-size", offsetof(confinement, file_size)},
                    {"--cpu-seconds", offsetof(confinement, cpu_seconds)},
                    {"--seconds", offsetof(confinement, seconds)}};
enum { NUMBERS = sizeof number_words / sizeof *number_words };
_Static_assert(NUMBERS == sizeof((confinement_numbers *)0)->text / CONFINEMENT_NUMBER,
               "room for every number");
_Static_assert(2 * (2 * CONFINEMENT_PATHS + 1 + NUMBERS) + 3 <= CONFINEMENT_WORDS,
               "room for every word");

static int add_paths(const char *const *paths, const char *word, const char **words) {
  int n = 0;
  for (int i = 0; i < CONFINEMENT_PATHS && paths[i]; i++) words[n++] = word, words[n++] = paths[i];
  return n;
}

int confinement_words(const confinement *c, confinement_numbers *numbers, const char **words) {
  int n = add_paths(c->readable, "--read", words);
  n += add_paths(c->writable, "--write", words + n);
  if (c->closed) words[n++] = "--closed", words[n++] = c->closed;
  for (int i = 0; i < NUMBERS; i++) {
    uint64_t value;
    memcpy(&value, (const char *)c + number_words[i].offset, sizeof value);
    if (!value) continue;
    snprintf(numbers->text[i], CONFINEMENT_NUMBER, "%" PRIu64, value);
    words[n++] = number_words[i].word;
    words[n++] = numbers->text[i];
  }
  if (c->gpu) words[n++] = "--gpu";
  if (c->network) words[n++] = "--network";
  words[n++] = "--";
  return n;
}

static bool put_path(const char **paths, const char *path) {
  int i = 0;
  while (i < CONFINEMENT_PATHS && paths[i]) i++;
  if (i == CONFINEMENT_PATHS || !path) return false;
  paths[i] = path;
  return true;
}

static bool put_number(confinement *c, const char *word, const char *text) {
  char *end;
  for (int i = 0; text && i < NUMBERS; i++) {
    if (strcmp(word, number_words[i].word) != 0) continue;
    uint64_t value = strtoull(text, &end, 10);
    memcpy((char *)c + number_words[i].offset, &value, sizeof value);
    return *text >= '1' && *text <= '9' && !*end;
  }
  return false;
}

int confinement_parse(char *const *words, confinement *c) {
  int n = 0;
  *c = (confinement){0};
  while (words[n]) {
    const char *word = words[n++], *value = words[n];
    if (strcmp(word, "--") == 0) return n;
    if (strcmp(word, "--gpu") == 0) {
      c->gpu = true;
      continue;
    }
    if (strcmp(word, "--network") == 0) {
      c->network = true;
      continue;
    }
    bool ok = strcmp(word, "--read") == 0     ? put_path(c->readable, value)
              : strcmp(word, "--write") == 0  ? put_path(c->writable, value)
              : strcmp(word, "--closed") == 0 ? (c->closed = value) != NULL
                                              : put_number(c, word, value);
    if (!ok) return -1;
    n++;
  }
  return n;
}
