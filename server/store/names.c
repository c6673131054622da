#define _GNU_SOURCE /* iswalnum_l */
#include "names.h"

#include <locale.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <wctype.h>

/* ---- UTF-8 ---- */

/* The next character; its length. 0: broken, or the end. */
static size_t next(const char *text, uint32_t *c) {
  const unsigned char *p = (const unsigned char *)text;
  if (p[0] < 0x80) {
    *c = p[0];
    return p[0] != 0;
  }
  size_t n = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  if (p[0] < 0xC2 || p[0] > 0xF4) return 0;
  *c = p[0] & (0xFFu >> (n + 1));
  for (size_t i = 1; i < n; i++) {
    if ((p[i] & 0xC0) != 0x80) return 0;
    *c = *c << 6 | (p[i] & 0x3Fu);
  }
  return *c < least[n] || *c > 0x10FFFF || (*c >= 0xD800 && *c < 0xE000) ? 0 : n;
}

static size_t put(char *to, uint32_t c) {
  if (c < 0x80) return to[0] = (char)c, 1;
  if (c < 0x800) return to[0] = (char)(0xC0 | c >> 6), to[1] = (char)(0x80 | (c & 0x3F)), 2;
  if (c < 0x10000) {
    to[0] = (char)(0xE0 | c >> 12), to[1] = (char)(0x80 | (c >> 6 & 0x3F));
    return to[2] = (char)(0x80 | (c & 0x3F)), 3;
  }
  to[0] = (char)(0xF0 | c >> 18), to[1] = (char)(0x80 | (c >> 12 & 0x3F));
  to[2] = (char)(0x80 | (c >> 6 & 0x3F)), to[3] = (char)(0x80 | (c & 0x3F));
  return 4;
}

/* ---- letters ---- */

static locale_t unicode;

static void make_locale(void) {
  unicode = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

static locale_t locale_of_letters(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, make_locale);
  return unicode;
}

typedef enum script { COMMON, LATIN, GREEK, CYRILLIC, EAST_ASIAN, OTHER } script;

typedef struct range {
  uint32_t first, last;
} range;

static bool is_in(uint32_t c, const range *list, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (c >= list[i].first && c <= list[i].last) return true;
  return false;
}

/* Blocks of Unicode. */
static script script_of(uint32_t c) {
  static const range latin[] = {{'A', 'Z'}, {'a', 'z'}, {0xAA, 0x24F}, {0x1E00, 0x1EFF}},
                     greek[] = {{0x370, 0x3FF}, {0x1F00, 0x1FFF}},
                     cyrillic[] = {{0x400, 0x52F},
                                   {0x1C80, 0x1C8F},
                                   {0x2DE0, 0x2DFF},
                                   {0xA640, 0xA69F}},
                     east[] = {{0x1100, 0x11FF}, {0x3040, 0x31FF}, {0x3400, 0x9FFF},
                               {0xAC00, 0xD7FF}, {0xF900, 0xFAFF}, {0x20000, 0x3FFFF}};
#define IS(list) is_in(c, list, sizeof list / sizeof *list)
  return IS(latin)      ? LATIN
         : IS(greek)    ? GREEK
         : IS(cyrillic) ? CYRILLIC
         : IS(east)     ? EAST_ASIAN
         : c < 0x80     ? COMMON
                        : OTHER;
}

/* Phonetic letters, small capitals, enclosed, mathematical and wide forms: they are letters to
 * Unicode and disguises in a name. */
static bool is_ornament(uint32_t c) {
  static const range list[] = {{0x250, 0x2FF},   {0x1D00, 0x1DBF},   {0x2070, 0x214F},
                               {0x2150, 0x218F}, {0x2460, 0x24FF},   {0x2C60, 0x2C7F},
                               {0xA720, 0xA7FF}, {0xAB30, 0xAB6F},   {0xFB00, 0xFB4F},
                               {0xFF00, 0xFFEF}, {0x1D400, 0x1D7FF}, {0x1F100, 0x1F1FF}};
  return is_in(c, list, sizeof list / sizeof *list);
}

static bool is_letter(uint32_t c) {
  if (c < 0x80) return (c >= '0' && c <= '9') || script_of(c) == LATIN;
  locale_t l = locale_of_letters();
  return l && iswalnum_l((wint_t)c, l) && !is_ornament(c);
}

const char *name_problem(const char *text) {
  static const char letters[] =
      "may have letters, digits, blanks, \".\", \"_\" and \"-\", and begins and ends with neither "
      "blank nor dot";
  script seen = COMMON;
  uint32_t c = 0, before = ' ';
  size_t n;
  if (!*text || strchr(" .", *text)) return letters;
  for (const char *p = text; *p; p += n, before = c) {
    n = next(p, &c);
    bool mark = c < 0x80 && c && strchr(" ._-", (int)c);
    if (!n || (!mark && !is_letter(c)) || (c == ' ' && before == ' ')) return letters;
    script s = mark || (c >= '0' && c <= '9') ? COMMON : script_of(c);
    if (s == COMMON) continue;
    if (seen != COMMON && s != seen)
      return "may not mix letters of several scripts, which look like other names";
    seen = s;
  }
  return before == ' ' || before == '.' ? letters : NULL;
}

/* ---- skeletons ---- */

/* Lower-case letters that look like Latin ones: "Greek and Cyrillic, then Latin". */
static uint32_t latin_like(uint32_t c) {
  static const struct {
    uint32_t other;
    char latin;
  } list[] = {{0x3B1, 'a'}, {0x3B3, 'y'}, {0x3B5, 'e'}, {0x3B9, 'i'}, {0x3BA, 'k'}, {0x3BD, 'v'},
              {0x3BF, 'o'}, {0x3C1, 'p'}, {0x3C3, 'o'}, {0x3C4, 't'}, {0x3C5, 'u'}, {0x3C7, 'x'},
              {0x3C9, 'w'}, {0x3B2, 'b'}, {0x3B7, 'n'}, {0x3B6, 'z'}, {0x3BC, 'm'}, {0x430, 'a'},
              {0x432, 'b'}, {0x433, 'r'}, {0x435, 'e'}, {0x43A, 'k'}, {0x43C, 'm'}, {0x43D, 'h'},
              {0x43E, 'o'}, {0x440, 'p'}, {0x441, 'c'}, {0x442, 't'}, {0x443, 'y'}, {0x445, 'x'},
              {0x455, 's'}, {0x456, 'i'}, {0x458, 'j'}, {0x501, 'd'}, {0x4BB, 'h'}, {0x51B, 'q'},
              {0x51D, 'w'}, {0x4CF, 'l'}, {0x44C, 'b'}, {0x131, 'i'}, {0x142, 'l'}};
  for (size_t i = 0; i < sizeof list / sizeof *list; i++)
    if (list[i].other == c) return (uint32_t)list[i].latin;
  return c == '0' ? 'o' : c == '1' || c == 'i' ? 'l' : c;
}

void name_skeleton(const char *text, char out[NAME_SKELETON]) {
  size_t at = 0, n;
  uint32_t c;
  locale_t l = locale_of_letters();
  for (const char *p = text; at + 5 < NAME_SKELETON && (n = next(p, &c)); p += n) {
    if (c < 0x80 && strchr(" ._-", (int)c)) continue;
    c = latin_like(l ? (uint32_t)towlower_l((wint_t)c, l) : c);
    if (c == 'i') c = 'l'; /* of another script */
    at += put(out + at, c);
  }
  out[at] = '\0';
}
