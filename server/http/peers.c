/* Addresses, networks, and the fields in which proxies name their clients. */
#include "peers.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- addresses ---- */

static bool read_address(const char *text, unsigned char bytes[16], bool *is_four) {
  static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
  memcpy(bytes, mapped, sizeof mapped);
  *is_four = inet_pton(AF_INET, text, bytes + 12) == 1;
  if (*is_four) return true;
  if (inet_pton(AF_INET6, text, bytes) != 1) return false;
  *is_four = memcmp(bytes, mapped, sizeof mapped) == 0;
  return true;
}

static void write_address(const unsigned char bytes[16], bool is_four, char text[48]) {
  inet_ntop(is_four ? AF_INET : AF_INET6, bytes + (is_four ? 12 : 0), text, 48);
}

void http_client_name(const char *address, char name[48]) {
  unsigned char bytes[16];
  bool is_four;
  snprintf(name, 48, "%s", address);
  if (!read_address(address, bytes, &is_four)) return;
  if (!is_four) memset(bytes + 8, 0, 8);
  write_address(bytes, is_four, name);
}

/* ---- networks ---- */

static bool read_network(const char *text, http_network *network) {
  char address[64], *end;
  bool is_four;
  const char *slash = strchr(text, '/');
  size_t n = slash ? (size_t)(slash - text) : strlen(text);
  if (n >= sizeof address) return false;
  memcpy(address, text, n);
  address[n] = '\0';
  if (!read_address(address, network->bytes, &is_four)) return false;
  int most = is_four && !strchr(address, ':') ? 32 : 128;
  long bits = slash ? strtol(slash + 1, &end, 10) : most;
  if (slash && (!isdigit((unsigned char)slash[1]) || *end)) return false;
  network->bits = (int)bits + 128 - most;
  return bits >= 0 && bits <= most;
}

bool http_networks_parse(const char *text, http_networks *networks, char *error, size_t size) {
  networks->n = 0;
  for (const char *p = text; p && *p;) {
    char word[80];
    p += strspn(p, ", ");
    size_t n = strcspn(p, ", ");
    if (!n) break;
    snprintf(word, sizeof word, "%.*s", (int)(n < sizeof word ? n : sizeof word - 1), p);
    p += n;
    if (networks->n == HTTP_NETWORKS || !read_network(word, &networks->list[networks->n++])) {
      snprintf(error, size, "\"%s\" is no address or network of a proxy, such as 10.0.0.0/8", word);
      return false;
    }
  }
  return true;
}

static bool is_in(const http_network *network, const unsigned char bytes[16]) {
  int whole = network->bits / 8, rest = network->bits % 8;
  if (memcmp(network->bytes, bytes, (size_t)whole) != 0) return false;
  return !rest || ((network->bytes[whole] ^ bytes[whole]) >> (8 - rest)) == 0;
}

bool http_networks_have(const http_networks *networks, const char *address) {
  unsigned char bytes[16];
  bool is_four;
  if (!networks->n || !read_address(address, bytes, &is_four)) return false;
  for (int i = 0; i < networks->n; i++)
    if (is_in(&networks->list[i], bytes)) return true;
  return false;
}

/* ---- what proxies say ---- */

enum { MOST_NODES = 32 }; /* the last ones count */

typedef struct nodes {
  http_text list[MOST_NODES];
  int n;
} nodes;

static http_text trim(http_text t) {
  while (t.size && (*t.bytes == ' ' || *t.bytes == '\t')) t.bytes++, t.size--;
  while (t.size && (t.bytes[t.size - 1] == ' ' || t.bytes[t.size - 1] == '\t')) t.size--;
  return t;
}

/* Up to the separator, outside of quotation marks; rest goes on behind it. */
static http_text cut(http_text *rest, char separator) {
  http_text part = {rest->bytes, 0};
  bool quoted = false;
  while (part.size < rest->size && (quoted || rest->bytes[part.size] != separator))
    quoted ^= rest->bytes[part.size++] == '"';
  size_t used = part.size < rest->size ? part.size + 1 : part.size;
  rest->bytes += used;
  rest->size -= used;
  return trim(part);
}

/* for=... of an element of Forwarded; empty: it has none. */
static http_text node_of(http_text element) {
  while (element.size) {
    http_text pair = cut(&element, ';');
    if (pair.size > 4 && (pair.bytes[0] | 32) == 'f' && (pair.bytes[1] | 32) == 'o' &&
        (pair.bytes[2] | 32) == 'r' && pair.bytes[3] == '=')
      return (http_text){pair.bytes + 4, pair.size - 4};
  }
  return (http_text){"", 0};
}

/* An address of a node: "1.2.3.4:80", "[::1]:80", with or without quotation marks. */
static bool address_of(http_text t, unsigned char bytes[16], bool *is_four) {
  char text[64];
  if (t.size >= 2 && *t.bytes == '"') t = (http_text){t.bytes + 1, t.size - 2};
  if (t.size && *t.bytes == '[') {
    const char *end = memchr(t.bytes, ']', t.size);
    if (!end) return false;
    t = (http_text){t.bytes + 1, (size_t)(end - t.bytes) - 1};
  } else {
    const char *colon = memchr(t.bytes, ':', t.size);
    bool one = colon && !memchr(colon + 1, ':', t.size - (size_t)(colon - t.bytes) - 1);
    if (one) t.size = (size_t)(colon - t.bytes);
  }
  if (!t.size || t.size >= sizeof text) return false;
  memcpy(text, t.bytes, t.size);
  text[t.size] = '\0';
  return read_address(text, bytes, is_four);
}

bool http_forwarded_client(const http_networks *proxies, const http_text *values, int n,
                           bool is_forwarded, char client[48]) {
  nodes all = {.n = 0};
  bool found = false;
  for (int i = 0; i < n; i++)
    for (http_text rest = values[i]; rest.size;) {
      http_text element = cut(&rest, ',');
      all.list[all.n++ % MOST_NODES] = is_forwarded ? node_of(element) : element;
    }
  int first = all.n > MOST_NODES ? all.n - MOST_NODES : 0;
  for (int i = all.n; i-- > first;) {
    unsigned char bytes[16];
    bool is_four;
    if (!address_of(all.list[i % MOST_NODES], bytes, &is_four)) break; /* "unknown" and the like */
    write_address(bytes, is_four, client);
    found = true;
    if (!http_networks_have(proxies, client)) break;
  }
  return found;
}
