/* Blocks: a named group of layers with options, described once and used many times. Where a block's
 * layers say "$name" stands the value of that option; {"if": "$name", "then": x, "else": y} stands
 * for x or y, and for nothing where it would be "else" and there is none. */
#include "model/wiring.h"

#include <string.h>

static const wml_json_path blocks_place = {.key = "blocks"};

static const wml_json *body_of(const wml_wiring *w, const char *block) {
  return wml_json_get(w->blocks, block);
}

bool wml_block_is(const wml_wiring *w, const char *name) {
  return body_of(w, name) != NULL;
}

static void check_block(const wml_json *block, wml_issues *issues) {
  wml_json_path place = {.in = &blocks_place, .key = block->key};
  const wml_json *layers = wml_json_get(block, "layers"), *options = wml_json_get(block, "options");
  if (wml_layer_class_named(block->key))
    wml_issue(issues, &place, "is the name of a layer; a block needs another");
  if (!layers || layers->kind != WML_JSON_ARRAY || layers->count < 1)
    wml_issue(issues, &place, "must be {\"options\": {...}, \"layers\": [...]}");
  if (options && options->kind != WML_JSON_OBJECT)
    wml_issue(issues, &(wml_json_path){.in = &place, .key = "options"},
              "must be an object: names and defaults");
  for (const wml_json *k = block->first; k && block->kind == WML_JSON_OBJECT; k = k->next)
    if (strcmp(k->key, "layers") != 0 && strcmp(k->key, "options") != 0)
      wml_issue(issues, &(wml_json_path){.in = &place, .key = k->key},
                "unknown key; a block has options and layers");
}

webml_status wml_read_blocks(wml_wiring *w, const wml_json *root) {
  const wml_json *blocks = wml_given(root, "blocks");
  wml_text text = {0};
  if (!blocks) return WEBML_OK;
  int before = w->issues->count;
  if (blocks->kind != WML_JSON_OBJECT)
    wml_issue(w->issues, &blocks_place, "must be {\"name\": {\"layers\": [...]}, ...}");
  for (const wml_json *b = blocks->first; b && blocks->kind == WML_JSON_OBJECT; b = b->next)
    check_block(b, w->issues);
  if (w->issues->count > before) return WEBML_OK;
  w->blocks = blocks;
  wml_json_write(&text, blocks);
  w->m->blocks = text.failed ? NULL : wml_arena_copy(&w->m->arena, text.data, text.length);
  wml_text_free(&text);
  return w->m->blocks ? WEBML_OK : wml_no_memory(1 << 12, "blocks");
}

/* ---- putting options in ---- */

typedef struct filling {
  wml_wiring *w;
  const wml_json *defaults, *given;
  const wml_json_path *place;
} filling;

/* What "$name" stands for; NULL with an issue. */
static const wml_json *value_of(filling *f, const char *name) {
  const wml_json *value = wml_json_get(f->given, name);
  if (!value) value = wml_json_get(f->defaults, name);
  if (!value)
    wml_issue(f->w->issues, f->place, "the block has no option \"%.80s\", which its layers use",
              name);
  return value;
}

static bool is_option(const wml_json *v) {
  return v->kind == WML_JSON_STRING && v->string[0] == '$';
}

/* What {"if", "then", "else"} chooses, any other value itself; NULL: nothing, it is left out. */
static const wml_json *choose(filling *f, const wml_json *v) {
  const wml_json *test = wml_json_get(v, "if");
  if (!test) return v;
  if (is_option(test)) test = value_of(f, test->string + 1);
  if (!test) return NULL;
  if (test->kind != WML_JSON_BOOL || !wml_json_get(v, "then")) {
    wml_issue(
        f->w->issues, f->place,
        "a choice in a block must be {\"if\": an option that is true or false, \"then\": ..., "
        "\"else\": ...}");
    return NULL;
  }
  const wml_json *chosen = wml_json_get(v, test->boolean ? "then" : "else");
  return chosen ? choose(f, chosen) : NULL;
}

static wml_json *fill(filling *f, const wml_json *v);

/* Puts the item at the end of a list or object. A choice of several items of a list puts them all
 * there. */
static bool append(filling *f, wml_json *into, wml_json ***tail, const wml_json *item) {
  const wml_json *chosen = choose(f, item);
  if (chosen && chosen != item && chosen->kind == WML_JSON_ARRAY && into->kind == WML_JSON_ARRAY) {
    for (const wml_json *i = chosen->first; i; i = i->next)
      if (!append(f, into, tail, i)) return false;
    return true;
  }
  if (!chosen) return true;
  wml_json *copy = fill(f, chosen);
  if (!copy) return false;
  copy->key = item->key;
  **tail = copy;
  *tail = &copy->next;
  into->count++;
  return true;
}

static wml_json *fill(filling *f, const wml_json *v) {
  wml_json *copy = wml_arena_alloc(&f->w->m->arena, sizeof *copy), **tail;
  if (!copy) {
    f->w->issues->failed = true;
    return NULL;
  }
  const wml_json *value = is_option(v) ? value_of(f, v->string + 1) : NULL;
  *copy = value ? *value : *v;
  copy->next = NULL;
  if (value || !v->first) return copy;
  copy->count = 0;
  copy->first = NULL;
  tail = &copy->first;
  for (const wml_json *item = v->first; item; item = item->next)
    if (!append(f, copy, &tail, item)) return NULL;
  return copy;
}

const wml_json *wml_block_layers(wml_wiring *w, const char *block, const wml_json *options,
                                 const wml_json_path *place) {
  const wml_json *body = body_of(w, block);
  filling f = {w, wml_json_get(body, "options"), options, place};
  if (options && options->kind != WML_JSON_OBJECT) {
    wml_issue(w->issues, &(wml_json_path){.in = place, .key = "layer"}, "must be an object");
    return NULL;
  }
  for (const wml_json *o = options ? options->first : NULL; o; o = o->next)
    if (strcmp(o->key, "name") != 0 && !wml_json_get(f.defaults, o->key))
      wml_issue(w->issues, &(wml_json_path){.in = WML_OPTIONS_OF(place), .key = o->key},
                "the block \"%.80s\" has no such option", block);
  return fill(&f, wml_json_get(body, "layers"));
}
