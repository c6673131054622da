#include "cli.h"

#include <math.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int terminal_width(void) {
  struct winsize size;
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

static void format_seconds(double s, char *out, size_t size) {
  if (!(s >= 0.0))
    snprintf(out, size, "?");
  else if (s < 10.0)
    snprintf(out, size, "%.1fs", s);
  else if (s < 60.0)
    snprintf(out, size, "%.0fs", s);
  else if (s < 3600.0)
    snprintf(out, size, "%d:%02d", (int)s / 60, (int)s % 60);
  else
    snprintf(out, size, "%d:%02d:%02d", (int)s / 3600, (int)s / 60 % 60, (int)s % 60);
}

static const char *short_name(const char *name) {
  return strcmp(name, "accuracy") == 0 ? "acc" : name;
}

/* "loss 0.4213  acc 0.8512" and, at the end of an epoch, the validation figures. */
static int format_figures(const webml_progress *p, char *out, size_t size) {
  int n = snprintf(out, size, "loss %.4f", p->loss);
  for (int i = 0; i < p->n_metrics; i++)
    n += snprintf(out + n, size - (size_t)n, "  %s %.4f", short_name(p->metric_names[i]),
                  p->metrics[i]);
  if (p->epoch_ended && !isnan(p->validation_loss)) {
    n += snprintf(out + n, size - (size_t)n, "  val_loss %.4f", p->validation_loss);
    for (int i = 0; i < p->n_metrics; i++)
      n += snprintf(out + n, size - (size_t)n, "  val_%s %.4f", short_name(p->metric_names[i]),
                    p->validation_metrics[i]);
  }
  return n;
}

static void show_bar(const webml_progress *p, cli_progress *state) {
  char figures[1024], left[24], head[32], tail[64], line[2048];
  format_figures(p, figures, sizeof figures);
  format_seconds(p->epoch_ended ? p->seconds : p->seconds_left, left, sizeof left);
  snprintf(head, sizeof head, "%lld/%lld", (long long)p->epoch, (long long)p->epochs);
  if (p->epoch_ended)
    snprintf(tail, sizeof tail, "  %s%s", left, p->improved ? " *" : "");
  else
    snprintf(tail, sizeof tail, "  %.0f/s  %s left", p->samples_per_second, left);
  int width = terminal_width() - 1, n = snprintf(line, sizeof line, "%s ", head);
  if (!p->epoch_ended) {
    int bar = 20, done = (int)((double)bar * (double)p->step / (double)p->steps);
    n += snprintf(line + n, sizeof line - (size_t)n, "[");
    for (int i = 0; i < bar; i++) line[n++] = i < done ? '=' : i == done ? '>' : ' ';
    n += snprintf(line + n, sizeof line - (size_t)n, "] ");
  }
  snprintf(line + n, sizeof line - (size_t)n, "%s%s", figures, tail);
  printf("\r%.*s\033[K%s", width, line, p->epoch_ended ? "\n" : "");
  fflush(stdout);
  state->line_open = !p->epoch_ended;
}

static void show_plain(const webml_progress *p) {
  char figures[1024], took[24], left[24];
  if (!p->epoch_ended) return;
  format_figures(p, figures, sizeof figures);
  format_seconds(p->seconds, took, sizeof took);
  format_seconds(p->seconds_left, left, sizeof left);
  printf("epoch %lld/%lld  %s  %.0f/s  %s%s%s%s\n", (long long)p->epoch, (long long)p->epochs,
         figures, p->samples_per_second, took, p->epoch < p->epochs ? "  left " : "",
         p->epoch < p->epochs ? left : "", p->improved ? "  best" : "");
  fflush(stdout);
}

int cli_progress_named(const char *word, cli_progress_mode *mode) {
  static const char *const words[] = {"none", "plain", "bar", "json"}; /* as the modes */
  if (!word || strcmp(word, "auto") == 0) {
    *mode = isatty(STDOUT_FILENO) ? CLI_PROGRESS_BAR : CLI_PROGRESS_PLAIN;
    return CLI_DONE;
  }
  for (int i = CLI_PROGRESS_NONE; i <= CLI_PROGRESS_JSON; i++)
    if (i != CLI_PROGRESS_BAR && strcmp(word, words[i]) == 0) {
      *mode = (cli_progress_mode)i;
      return CLI_DONE;
    }
  return cli_wrong_use("--progress takes auto, plain, json or none, not \"%s\"", word);
}

void cli_event(const char *name, json_t *members) {
  json_t *o = json_pack("{s:s}", "event", name);
  json_object_update(o, members);
  json_decref(members);
  json_dumpf(o, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
  putchar('\n');
  fflush(stdout);
  json_decref(o);
}

static json_t *confusion_json(const webml_progress *p) {
  json_t *rows = json_array();
  for (int i = 0; i < p->n_classes; i++) {
    json_t *row = json_array();
    for (int k = 0; k < p->n_classes; k++)
      json_array_append_new(row, json_integer((json_int_t)p->confusion[i * p->n_classes + k]));
    json_array_append_new(rows, row);
  }
  return rows;
}

/* Classes by name, so that a line is understood by itself. */
static json_t *mistakes_json(const webml_progress *p) {
  json_t *list = json_array();
  for (int i = 0; i < p->n_mistakes; i++) {
    const webml_mistake *m = &p->mistakes[i];
    json_array_append_new(list, json_pack("{s:I, s:s, s:s, s:f}", "sample", (json_int_t)m->sample,
                                          "class", p->class_names[m->truth], "said",
                                          p->class_names[m->said], "probability", m->probability));
  }
  return list;
}

/* Confusion and mistakes of an epoch, a line of its own. */
static void show_detail(const webml_progress *p) {
  if (!p->n_classes) return;
  json_t *members = json_pack("{s:I}", "epoch", (json_int_t)p->epoch), *classes = json_array();
  for (int i = 0; p->confusion && i < p->n_classes; i++)
    json_array_append_new(classes, json_string(p->class_names[i]));
  if (p->confusion) {
    json_object_set(members, "classes", classes);
    json_object_set_new(members, "confusion", confusion_json(p));
  }
  json_object_set_new(members, "mistakes", mistakes_json(p));
  json_decref(classes);
  cli_event("detail", members);
}

/* One object per line; figures that do not exist yet are left out. */
static void show_json(const webml_progress *p) {
  json_t *o =
      json_pack("{s:s, s:I, s:I, s:I, s:I, s:f}", "event", p->epoch_ended ? "epoch" : "progress",
                "epoch", (json_int_t)p->epoch, "epochs", (json_int_t)p->epochs, "step",
                (json_int_t)p->step, "steps", (json_int_t)p->steps, "loss", p->loss);
  if (!o) return;
  for (int i = 0; i < p->n_metrics; i++)
    json_object_set_new(o, p->metric_names[i], json_real(p->metrics[i]));
  if (p->epoch_ended && !isnan(p->validation_loss)) {
    json_object_set_new(o, "val_loss", json_real(p->validation_loss));
    for (int i = 0; i < p->n_metrics; i++) {
      char key[128];
      snprintf(key, sizeof key, "val_%s", p->metric_names[i]);
      json_object_set_new(o, key, json_real(p->validation_metrics[i]));
    }
  }
  json_object_set_new(o, "learning_rate", json_real(p->learning_rate));
  json_object_set_new(o, "seconds", json_real(p->seconds));
  json_object_set_new(o, "seconds_left", json_real(p->seconds_left));
  json_object_set_new(o, "samples_per_second", json_real(p->samples_per_second));
  if (p->epoch_ended) json_object_set_new(o, "improved", json_boolean(p->improved));
  json_dumpf(o, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
  putchar('\n');
  fflush(stdout);
  json_decref(o);
  if (p->epoch_ended) show_detail(p);
}

void cli_show_progress(const webml_progress *progress, void *user) {
  cli_progress *state = user;
  switch (state->mode) {
  case CLI_PROGRESS_BAR: show_bar(progress, state); return;
  case CLI_PROGRESS_PLAIN: show_plain(progress); return;
  case CLI_PROGRESS_JSON: show_json(progress); return;
  default: return;
  }
}

void cli_show_message(const char *text, void *user) {
  cli_progress *state = user;
  if (state->mode == CLI_PROGRESS_NONE) return;
  if (state->mode == CLI_PROGRESS_JSON) {
    json_t *o = json_pack("{s:s, s:s}", "event", "message", "text", text);
    json_dumpf(o, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(o);
  } else
    printf("%s%s\n", state->line_open ? "\n" : "", text);
  state->line_open = false;
  fflush(stdout);
}
