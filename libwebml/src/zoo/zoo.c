/* The list of ready-made networks, their options, and what all descriptions have in common. */
#include "zoo/zoo.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PICTURES(height, channels) .size = {height, height, channels}

const wml_network wml_networks[] = {
    {.name = "resnet18",
     .about = "ResNet-18 (2015), as torchvision has it.",
     PICTURES(224, 3),
     .least = 32,
     .write = wml_zoo_resnet18},
    {.name = "resnet34",
     .about = "ResNet-34 (2015), as torchvision has it.",
     PICTURES(224, 3),
     .least = 32,
     .write = wml_zoo_resnet34},
    {.name = "resnet50",
     .about = "ResNet-50 (2015), as Keras has it.",
     PICTURES(224, 3),
     .least = 32,
     .write = wml_zoo_resnet50},
    {.name = "mobilenet_v2",
     .about = "MobileNetV2 (2018), as Keras has it: few weights.",
     PICTURES(224, 3),
     .least = 32,
     .alpha = 1,
     .write = wml_zoo_mobilenet_v2},
    {.name = "efficientnet_b0",
     .about = "EfficientNet-B0 (2019), as Keras has it: few operations.",
     PICTURES(224, 3),
     .least = 32,
     .write = wml_zoo_efficientnet_b0},
    {.name = "vgg16",
     .about = "VGG16 (2014), as Keras has it: 138 million weights.",
     PICTURES(224, 3),
     .least = 32,
     .write = wml_zoo_vgg16},
    {.name = "vgg_small",
     .about = "Plain convolutions with normalization, for small pictures.",
     PICTURES(32, 3),
     .least = 8,
     .filters = 32,
     .units = 128,
     .depth = 3,
     .write = wml_zoo_vgg_small},
    {.name = "cnn",
     .about = "A small residual network: the first choice for small pictures.",
     PICTURES(32, 3),
     .least = 8,
     .filters = 32,
     .depth = 3,
     .write = wml_zoo_cnn},
    {.name = "unet",
     .about = "U-Net (2015): an answer for each pixel.",
     PICTURES(256, 3),
     .least = 8,
     .halves = true,
     .filters = 64,
     .depth = 4,
     .write = wml_zoo_unet},
    {.name = "mlp",
     .about = "Dense layers with dropout, for tables.",
     .units = 64,
     .depth = 2,
     .write = wml_zoo_mlp},
    {.name = "residual_mlp",
     .about = "A residual network of Dense layers (2021), for tables.",
     .units = 128,
     .depth = 3,
     .write = wml_zoo_residual_mlp},
};
const int wml_n_networks = sizeof wml_networks / sizeof *wml_networks;

/* ---- options ---- */

#define NAMED(member) #member, .offset = offsetof(webml_named_options, member)

static const wml_option options[WML_ZOO_OPTIONS] = {
    {.name = NAMED(size),
     .command_line = "size",
     .kind = WML_OPTION_TEXT,
     .open = "the network's own; of a table that of the data",
     .about = "HEIGHTxWIDTHxCHANNELS of pictures, or the number of features of a table."},
    {.name = NAMED(classes),
     .command_line = "classes",
     .kind = WML_OPTION_INTEGER,
     .low = 0,
     .high = 1 << 20,
     .open = "what the data set has",
     .about = "The number of classes; 1: one yes or no."},
    {.name = NAMED(alpha),
     .command_line = "alpha",
     .kind = WML_OPTION_NUMBER,
     .low = 0.1,
     .high = 3,
     .about = "A factor of the number of filters of every layer."},
    {.name = NAMED(filters),
     .command_line = "filters",
     .kind = WML_OPTION_INTEGER,
     .low = 1,
     .high = 512,
     .about = "Filters of the first stage; each further stage has twice as many."},
    {.name = NAMED(units),
     .command_line = "units",
     .kind = WML_OPTION_INTEGER,
     .low = 1,
     .high = 65536,
     .about = "Units of the hidden Dense layers."},
    {.name = NAMED(depth),
     .command_line = "depth",
     .kind = WML_OPTION_INTEGER,
     .low = 1,
     .high = 8,
     .about = "The number of stages or hidden layers."},
};

static double own_value(const wml_network *n, const char *option) {
  if (strcmp(option, "alpha") == 0) return n->alpha;
  if (strcmp(option, "filters") == 0) return (double)n->filters;
  if (strcmp(option, "units") == 0) return (double)n->units;
  return strcmp(option, "depth") == 0 ? (double)n->depth : 0.0;
}

int wml_network_options(const wml_network *network, wml_option out[WML_ZOO_OPTIONS]) {
  int n = 0;
  for (int i = 0; i < WML_ZOO_OPTIONS; i++) {
    out[n] = options[i];
    out[n].otherwise = own_value(network, options[i].name);
    n += options[i].open || out[n].otherwise != 0.0;
  }
  return n;
}

/* Refuses options that this network does not have. */
static webml_status check_unused(const wml_network *n, const webml_named_options *o) {
  const char *unused = o->alpha != 0.0 && n->alpha == 0.0   ? "alpha"
                       : o->filters != 0 && n->filters == 0 ? "filters"
                       : o->units != 0 && n->units == 0     ? "units"
                       : o->depth != 0 && n->depth == 0     ? "depth"
                                                            : NULL;
  wml_option own[WML_ZOO_OPTIONS];
  char list[128] = "";
  if (!unused) return WEBML_OK;
  int count = wml_network_options(n, own);
  for (int i = 0; i < count; i++) {
    size_t length = strlen(list);
    snprintf(list + length, sizeof list - length, "%s%s",
             i == 0          ? ""
             : i + 1 < count ? ", "
                             : " and ",
             own[i].name);
  }
  return wml_fail(WEBML_ERROR_ARGUMENT, "%s has no option %s; it has %s", n->name, unused, list);
}

/* "224x224x3" or "12". */
static webml_status read_size(wml_zoo_plan *p) {
  const wml_network *n = p->network;
  const char *text = p->options.size;
  long long h = 0, w = 0, c = 0;
  int end = -1;
  bool table = n->size[0] == 0;
  memcpy(p->size, n->size, sizeof p->size);
  if (!text) return WEBML_OK;
  if (sscanf(text, table ? "%9lld%n" : "%9lldx%n", &h, &end) != 1 || end < 0) h = 0;
  if (!table && (sscanf(text, "%9lldx%9lldx%9lld%n", &h, &w, &c, &end) != 3)) h = 0;
  if (h < 1 || end < 0 || text[end] || (!table && (w < 1 || c < 1)))
    return wml_fail(WEBML_ERROR_ARGUMENT, "size \"%.40s\" must be %s", text,
                    table ? "a number of features, such as 12"
                          : "HEIGHTxWIDTHxCHANNELS, such as 64x64x3");
  p->size[0] = h, p->size[1] = w, p->size[2] = c;
  return WEBML_OK;
}

static webml_status check_size(const wml_zoo_plan *p) {
  const wml_network *n = p->network;
  int64_t step = n->halves ? 1 << p->options.depth : 1;
  for (int i = 0; i < 2 && n->size[0]; i++) {
    if (p->size[i] < n->least)
      return wml_fail(WEBML_ERROR_ARGUMENT, "%s takes pictures of %lld and more pixels a side",
                      n->name, (long long)n->least);
    if (p->size[i] % step)
      return wml_fail(WEBML_ERROR_ARGUMENT,
                      "%s of depth %lld takes sides that are multiples of %lld, not %lld; %lld is",
                      n->name, (long long)p->options.depth, (long long)step, (long long)p->size[i],
                      (long long)((p->size[i] + step - 1) / step * step));
  }
  return WEBML_OK;
}

/* ---- writing ---- */

static void add_line(wml_text *t, const char *json) {
  bool first = t->length && t->data[t->length - 1] == '[';
  wml_text_string(t, first ? "\n    " : ",\n    ");
  wml_text_string(t, json);
}

void wml_zoo_block(wml_text *t, const char *name, const char *const *block) {
  bool first = t->length && t->data[t->length - 1] == '{';
  wml_text_format(t, "%s\n   \"%s\": {\"options\": %s, \"layers\": [", first ? "" : ",", name,
                  block[0]);
  for (int i = 1; block[i]; i++) add_line(t, block[i]);
  wml_text_string(t, "]}");
}

void wml_zoo_layers(wml_text *t) {
  wml_text_string(t, "},\n \"layers\": [");
}

void wml_zoo_add(wml_text *t, const char *format, ...) {
  char line[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(line, sizeof line, format, args);
  va_end(args);
  add_line(t, line);
}

void wml_zoo_add_all(wml_text *t, const char *const *layers) {
  for (int i = 0; layers[i]; i++) add_line(t, layers[i]);
}

void wml_zoo_classify(wml_text *t, const wml_zoo_plan *plan, const char *name,
                      const char *initializer) {
  int64_t classes = plan->options.classes;
  bool may_be_numbers = plan->network->size[0] == 0;
  char units[24] = "null";
  if (classes) snprintf(units, sizeof units, "%lld", (long long)classes);
  wml_text line = {0};
  wml_text_format(&line, "{\"type\": \"Dense\", \"layer\": {\"name\": \"%s\", \"units\": %s", name,
                  units);
  if (classes || !may_be_numbers)
    wml_text_format(&line, ", \"activation\": \"%s\"", classes == 1 ? "sigmoid" : "softmax");
  if (initializer) wml_text_format(&line, ", \"kernel_initializer\": %s", initializer);
  wml_text_string(&line, "}}");
  t->failed |= line.failed;
  if (!line.failed) add_line(t, line.data);
  wml_text_free(&line);
}

static void write_network(wml_text *t, const wml_zoo_plan *p) {
  wml_text_format(t, "{\"name\": \"%s\",\n \"size\": [", p->network->name);
  if (p->network->size[0])
    wml_text_format(t, "%lld, %lld, %lld", (long long)p->size[0], (long long)p->size[1],
                    (long long)p->size[2]);
  else if (p->size[0])
    wml_text_format(t, "%lld", (long long)p->size[0]);
  else
    wml_text_string(t, "null");
  wml_text_string(t, "],\n \"blocks\": {");
  p->network->write(t, p);
  wml_text_string(t, "],\n \"optimizer\": null,\n \"loss\": null}");
}

/* ---- public ---- */

static webml_status find_network(const char *name, const wml_network **network) {
  const char *names[sizeof wml_networks / sizeof *wml_networks];
  for (int i = 0; i < wml_n_networks; i++) {
    names[i] = wml_networks[i].name;
    *network = &wml_networks[i];
    if (strcmp(name, names[i]) == 0) return WEBML_OK;
  }
  const char *meant = wml_suggest(name, names, (size_t)wml_n_networks);
  return wml_fail(WEBML_ERROR_ARGUMENT, "there is no network \"%.80s\"%s%s%s", name,
                  meant ? ", did you mean \"" : "; webml_schema() lists them", meant ? meant : "",
                  meant ? "\"?" : "");
}

static webml_status make_plan(const char *name, const webml_named_options *given, wml_zoo_plan *p) {
  wml_option own[WML_ZOO_OPTIONS];
  if (given && given->struct_size > sizeof p->options)
    return wml_fail(WEBML_ERROR_ARGUMENT, "struct_size %zu is not that of webml_named_options",
                    given->struct_size);
  if (given) memcpy(&p->options, given, given->struct_size);
  WML_TRY(find_network(name, &p->network));
  WML_TRY(check_unused(p->network, &p->options));
  WML_TRY(wml_options_settle(own, wml_network_options(p->network, own), &p->options));
  WML_TRY(read_size(p));
  return check_size(p);
}

webml_status webml_model_named(const char *name, const webml_named_options *given, char **json) {
  wml_zoo_plan p = {0};
  wml_text text = {0};
  webml_model *model = NULL;
  if (!name || !json)
    return wml_fail(WEBML_ERROR_ARGUMENT, "webml_model_named: name and json must not be NULL");
  WML_TRY(make_plan(name, given, &p));
  write_network(&text, &p);
  webml_status status = WEBML_OK; /* options may make layers that are out of range */
  if (!text.failed) status = webml_model_parse(text.data, text.length, &model);
  webml_model_destroy(model);
  if (status == WEBML_OK) return wml_text_take(&text, json);
  wml_text_free(&text);
  return status;
}
