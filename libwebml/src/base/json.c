#include "base/json.h"

#include <ctype.h>
#include <string.h>

enum { MAX_DEPTH = 64, MAX_KEYS = 20000 }; /* keys: finding a key twice is a search through all */

typedef struct reader {
  wml_arena *arena;
  const char *at, *end, *name;
  int line, depth;
} reader;

static webml_status parse_value(reader *r, wml_json **out);

static webml_status complain(const reader *r, const char *what) {
  return wml_fail(WEBML_ERROR_PARSE, "%s, line %d: %s", r->name, r->line, what);
}

static void skip_space(reader *r) {
  for (; r->at < r->end; r->at++) {
    if (*r->at == '\n')
      r->line++;
    else if (*r->at != ' ' && *r->at != '\t' && *r->at != '\r')
      return;
  }
}

static bool take(reader *r, char c) {
  skip_space(r);
  if (r->at >= r->end || *r->at != c) return false;
  r->at++;
  return true;
}

static wml_json *new_value(reader *r, wml_json_kind kind) {
  wml_json *v = wml_arena_alloc(r->arena, sizeof *v);
  if (v) *v = (wml_json){.kind = kind, .line = r->line};
  return v;
}

static int hex4(const char *s) {
  int value = 0;
  for (int i = 0; i < 4; i++) {
    if (!isxdigit((unsigned char)s[i])) return -1;
    int digit = s[i] <= '9' ? s[i] - '0' : (tolower((unsigned char)s[i]) - 'a' + 10);
    value = value * 16 + digit;
  }
  return value;
}

static size_t put_utf8(char *out, unsigned c) {
  if (c < 0x80) return out[0] = (char)c, 1;
  if (c < 0x800) return out[0] = (char)(0xC0 | c >> 6), out[1] = (char)(0x80 | (c & 63)), 2;
  if (c < 0x10000) {
    out[0] = (char)(0xE0 | c >> 12), out[1] = (char)(0x80 | (c >> 6 & 63)),
    out[2] = (char)(0x80 | (c & 63));
    return 3;
  }
  out[0] = (char)(0xF0 | c >> 18), out[1] = (char)(0x80 | (c >> 12 & 63));
  out[2] = (char)(0x80 | (c >> 6 & 63)), out[3] = (char)(0x80 | (c & 63));
  return 4;
}

static webml_status parse_escape(reader *r, char *out, size_t *length) {
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  char c = r->at < r->end ? *r->at++ : '\0';
  const char *simple = c ? strchr(from, c) : NULL;
  if (simple) {
    out[(*length)++] = to[simple - from];
    return WEBML_OK;
  }
  int high = c == 'u' && r->end - r->at >= 4 ? hex4(r->at) : -1;
  if (high < 0)
    return complain(r, "a backslash in a string must be followed by one of \"\\/bfnrt or by u and "
                       "four hex digits");
  r->at += 4;
  unsigned code = (unsigned)high;
  if (high >= 0xD800 && high < 0xDC00 && r->end - r->at >= 6 && r->at[0] == '\\' &&
      r->at[1] == 'u') {
    int low = hex4(r->at + 2);
    if (low >= 0xDC00 && low < 0xE000) {
      code = 0x10000u + (((unsigned)high - 0xD800u) << 10) + ((unsigned)low - 0xDC00u);
      r->at += 6;
    }
  }
  if (code >= 0xD800 && code < 0xE000) return complain(r, "half of a surrogate pair in a string");
  if (code == 0) return complain(r, "a string must not contain \\u0000");
  *length += put_utf8(out + *length, code);
  return WEBML_OK;
}

/* After the opening quote. The result is never longer than its source. */
static webml_status parse_string(reader *r, const char **out) {
  const char *close = r->at;
  while (close < r->end && *close != '"') close += *close == '\\' && close + 1 < r->end ? 2 : 1;
  if (close >= r->end) return complain(r, "a string is not closed");
  char *text = wml_arena_alloc(r->arena, (size_t)(close - r->at) + 1);
  if (!text) return wml_no_memory((size_t)(close - r->at), "a string");
  size_t length = 0;
  while (*r->at != '"') {
    unsigned char c = (unsigned char)*r->at;
    if (c == '\\') {
      r->at++;
      WML_TRY(parse_escape(r, text, &length));
      continue;
    }
    if (c < 0x20) return complain(r, "a line break or control character inside a string");
    size_t n = wml_utf8_length(r->at, (size_t)(r->end - r->at));
    if (n == 0) return complain(r, "bytes that are not UTF-8 inside a string");
    memcpy(text + length, r->at, n);
    length += n;
    r->at += n;
  }
  r->at++;
  text[length] = '\0';
  *out = text;
  return WEBML_OK;
}

static webml_status parse_number(reader *r, wml_json **out) {
  const char *from = r->at;
  while (r->at < r->end && (isalnum((unsigned char)*r->at) || strchr("+-.", *r->at))) r->at++;
  size_t n = (size_t)(r->at - from), digit = *from == '-' ? 1 : 0;
  wml_json *v = new_value(r, WML_JSON_NUMBER);
  if (!v) return wml_no_memory(sizeof *v, "a JSON value");
  bool zeros = n > digit + 1 && from[digit] == '0' && isdigit((unsigned char)from[digit + 1]);
  bool form =
      *from != '+' && digit < n && isdigit((unsigned char)from[digit]) && from[n - 1] != '.';
  if (!form || zeros || !wml_parse_number(from, n, &v->number))
    return wml_fail(WEBML_ERROR_PARSE, "%s, line %d: \"%.*s\" is not a number", r->name, r->line,
                    (int)(n < 40 ? n : 40), from);
  *out = v;
  return WEBML_OK;
}

/* Items of an array, or members of an object when `members`. A trailing comma is fine. */
static webml_status parse_items(reader *r, wml_json *parent, bool members) {
  wml_json **tail = &parent->first;
  char close = members ? '}' : ']';
  while (!take(r, close)) {
    const char *key = NULL;
    if (members) {
      if (!take(r, '"')) return complain(r, "expected a key in double quotes or }");
      WML_TRY(parse_string(r, &key));
      if (parent->count >= MAX_KEYS) return complain(r, "more than 20000 keys in one object");
      if (wml_json_get(parent, key))
        return wml_fail(WEBML_ERROR_PARSE, "%s, line %d: the key \"%s\" stands twice in one object",
                        r->name, r->line, key);
      if (!take(r, ':')) return complain(r, "expected : after a key");
    }
    wml_json *item = NULL;
    WML_TRY(parse_value(r, &item));
    item->key = key;
    *tail = item;
    tail = &item->next;
    parent->count++;
    if (!take(r, ',')) {
      if (!take(r, close)) return complain(r, members ? "expected , or }" : "expected , or ]");
      return WEBML_OK;
    }
  }
  return WEBML_OK;
}

static webml_status parse_word(reader *r, wml_json **out) {
  const char *from = r->at;
  while (r->at < r->end && isalnum((unsigned char)*r->at)) r->at++;
  size_t n = (size_t)(r->at - from);
  if (n && take(r, '(')) { /* ObjectId("..."), ISODate("..."), NumberLong(5) */
    WML_TRY(parse_value(r, out));
    return take(r, ')') ? WEBML_OK : complain(r, "expected )");
  }
  wml_json *v = new_value(r, WML_JSON_NULL);
  if (!v) return wml_no_memory(sizeof *v, "a JSON value");
  if (n == 4 && memcmp(from, "true", 4) == 0)
    v->kind = WML_JSON_BOOL, v->boolean = true;
  else if (n == 5 && memcmp(from, "false", 5) == 0)
    v->kind = WML_JSON_BOOL;
  else if (n != 4 || memcmp(from, "null", 4) != 0)
    return complain(
        r, "expected a value: a string in double quotes, a number, true, false, null, [ or {");
  *out = v;
  return WEBML_OK;
}

static webml_status parse_value(reader *r, wml_json **out) {
  skip_space(r);
  if (r->at >= r->end) return complain(r, "the text ends where a value should be");
  if (r->depth == MAX_DEPTH) return complain(r, "nested more than 64 deep");
  char c = *r->at;
  if (c == '-' || isdigit((unsigned char)c)) return parse_number(r, out);
  if (c != '{' && c != '[' && c != '"') {
    r->depth++;
    webml_status status = parse_word(r, out);
    r->depth--;
    return status;
  }
  r->at++;
  wml_json *v = new_value(r, c == '{'   ? WML_JSON_OBJECT
                             : c == '[' ? WML_JSON_ARRAY
                                        : WML_JSON_STRING);
  if (!v) return wml_no_memory(sizeof *v, "a JSON value");
  *out = v;
  if (c == '"') return parse_string(r, &v->string);
  r->depth++;
  WML_TRY(parse_items(r, v, c == '{'));
  r->depth--;
  return WEBML_OK;
}

static webml_status parse_document(reader *r, const wml_json **root) {
  if (r->end - r->at >= 3 && memcmp(r->at, "\xEF\xBB\xBF", 3) == 0) r->at += 3;
  wml_json *value = NULL;
  WML_TRY(parse_value(r, &value));
  take(r, ';');
  skip_space(r);
  if (r->at < r->end) return complain(r, "more text after the end of the document");
  *root = value;
  return WEBML_OK;
}

webml_status wml_json_parse_at(wml_arena *arena, const char *text, size_t length, const char *name,
                               const wml_json **root, int *line) {
  reader r = {.arena = arena, .at = text, .end = text + length, .name = name, .line = 1};
  webml_status status = parse_document(&r, root);
  *line = r.line;
  return status;
}

webml_status wml_json_parse(wml_arena *arena, const char *text, size_t length, const char *name,
                            const wml_json **root) {
  int line;
  return wml_json_parse_at(arena, text, length, name, root, &line);
}

const wml_json *wml_json_get(const wml_json *object, const char *key) {
  if (!object || object->kind != WML_JSON_OBJECT) return NULL;
  for (const wml_json *m = object->first; m; m = m->next)
    if (strcmp(m->key, key) == 0) return m;
  return NULL;
}

const char *wml_json_kind_name(wml_json_kind kind) {
  static const char *const names[] = {"null",     "true or false", "a number",
                                      "a string", "an array",      "an object"};
  return names[kind];
}

double wml_json_get_number(const wml_json *object, const char *key, double otherwise) {
  const wml_json *v = wml_json_get(object, key);
  return v && v->kind == WML_JSON_NUMBER ? v->number : otherwise;
}

const char *wml_json_get_string(const wml_json *object, const char *key, const char *otherwise) {
  const wml_json *v = wml_json_get(object, key);
  return v && v->kind == WML_JSON_STRING ? v->string : otherwise;
}

bool wml_json_get_bool(const wml_json *object, const char *key, bool otherwise) {
  const wml_json *v = wml_json_get(object, key);
  return v && v->kind == WML_JSON_BOOL ? v->boolean : otherwise;
}

void wml_json_write(wml_text *t, const wml_json *v) {
  switch (v->kind) {
  case WML_JSON_NULL: wml_json_null(t); return;
  case WML_JSON_BOOL: wml_json_bool(t, v->boolean); return;
  case WML_JSON_NUMBER: wml_json_number(t, v->number); return;
  case WML_JSON_STRING: wml_json_string(t, v->string); return;
  default: break;
  }
  bool object = v->kind == WML_JSON_OBJECT;
  wml_json_open(t, object ? '{' : '[');
  for (const wml_json *item = v->first; item; item = item->next) {
    if (object) wml_json_key(t, item->key);
    wml_json_write(t, item);
  }
  wml_json_close(t, object ? '}' : ']');
}
