package org.sparkpeft.core.io;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.TreeMap;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;

/** Against a hub on this machine, whose large files lie on another address. */
class ModelHubTest {
  private static final String COMMIT = "0123456789abcdef0123456789abcdef01234567";

  @TempDir Path temp;
  private final Map<String, byte[]> files = new TreeMap<>();
  private final List<String> requests = Collections.synchronizedList(new ArrayList<>());
  private HttpServer hub;
  private HttpServer store;
  private boolean breaksOff;
  private boolean lies;

  @BeforeEach
  void start() throws IOException {
    InetSocketAddress anyPort = new InetSocketAddress(InetAddress.getLoopbackAddress(), 0);
    hub = HttpServer.create(anyPort, 0);
    store = HttpServer.create(anyPort, 0);
    hub.createContext("/", this::answer);
    store.createContext("/", this::answerFromStore);
    hub.start();
    store.start();
    byte[] weights = new byte[100_000];
    for (int i = 0; i < weights.length; i++) {
      weights[i] = (byte) (i * 31 + i / 255);
    }
    files.put("config.json", "{\"model_type\": \"bert\"}".getBytes(StandardCharsets.UTF_8));
    files.put("model.safetensors", weights);
    files.put("pytorch_model.bin", new byte[] {1});
    files.put("modeling.py", new byte[] {2});
    files.put("onnx/model.json", new byte[] {3});
  }

  @AfterEach
  void stop() {
    hub.stop(0);
    store.stop(0);
  }

  private static URI address(HttpServer server) {
    return URI.create("http://127.0.0.1:" + server.getAddress().getPort());
  }

  private void answer(HttpExchange exchange) throws IOException {
    String path = exchange.getRequestURI().getPath();
    log("hub", exchange);
    if (path.equals("/api/models/some/model/revision/main")) {
      StringBuilder json = new StringBuilder("{\"sha\": \"" + COMMIT + "\", \"siblings\": [");
      files.keySet().forEach(name -> json.append("{\"rfilename\": \"" + name + "\"}, "));
      json.append("{\"rfilename\": \"../../escape.json\"}]}");
      send(exchange, 200, json.toString().getBytes(StandardCharsets.UTF_8));
    } else if (path.startsWith("/api/models/secret/")) {
      send(exchange, 401, new byte[0]);
    } else if (path.startsWith("/some/model/resolve/" + COMMIT + "/")) {
      byte[] content = Objects.requireNonNull(files.get(path.substring(path.lastIndexOf('/') + 1)));
      boolean large = path.endsWith(".safetensors");
      String hash = large ? Sha256.hex(content) : git(content);
      exchange
          .getResponseHeaders()
          .set(large ? "X-Linked-Etag" : "ETag", "\"" + (lies ? "0".repeat(64) : hash) + "\"");
      if (large) {
        exchange.getResponseHeaders().set("Location", address(store) + "/blob");
        send(exchange, 302, new byte[0]);
      } else {
        send(exchange, 200, content);
      }
    } else {
      send(exchange, 404, new byte[0]);
    }
  }

  private void answerFromStore(HttpExchange exchange) throws IOException {
    log("store", exchange);
    byte[] content = weights();
    String range = exchange.getRequestHeaders().getFirst("Range");
    int from = range == null ? 0 : Integer.parseInt(range.replaceAll("\\D", ""));
    byte[] rest = Arrays.copyOfRange(content, from, content.length);
    if (!breaksOff) {
      send(exchange, range == null ? 200 : 206, rest);
      return;
    }
    breaksOff = false;
    exchange.sendResponseHeaders(range == null ? 200 : 206, rest.length);
    exchange.getResponseBody().write(rest, 0, rest.length / 2);
    exchange.getResponseBody().flush();
    exchange.close(); // in the middle
  }

  private byte[] weights() {
    return Objects.requireNonNull(files.get("model.safetensors"));
  }

  private void log(String server, HttpExchange exchange) {
    requests.add(
        server
            + " "
            + exchange.getRequestMethod()
            + " "
            + exchange.getRequestURI().getPath()
            + " "
            + exchange.getRequestHeaders().getFirst("Authorization")
            + " "
            + exchange.getRequestHeaders().getFirst("Range"));
  }

  private static void send(HttpExchange exchange, int status, byte[] body) throws IOException {
    boolean head = exchange.getRequestMethod().equals("HEAD");
    exchange.sendResponseHeaders(status, head || body.length == 0 ? -1 : body.length);
    if (!head && body.length > 0) {
      exchange.getResponseBody().write(body);
    }
    exchange.close();
  }

  private static String git(byte[] content) {
    try {
      MessageDigest digest = MessageDigest.getInstance("SHA-1");
      digest.update(("blob " + content.length + "\0").getBytes(StandardCharsets.US_ASCII));
      return HexFormat.of().formatHex(digest.digest(content));
    } catch (java.security.NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
  }

  private ModelHub.Pulled pull() {
    return new ModelHub(address(hub), Optional.of("token"))
        .pull("some/model", "main", temp.resolve("model"), file -> {});
  }

  @Test
  void fetchesWhatAModelIsReadFrom() throws IOException {
    ModelHub.Pulled pulled = pull();
    assertThat(pulled.files()).containsExactly("config.json", "model.safetensors");
    assertThat(pulled.commit()).isEqualTo(COMMIT);
    Path folder = temp.resolve("model");
    assertThat(folder.resolve("model.safetensors")).hasBinaryContent(weights());
    try (var names = Files.list(folder)) {
      assertThat(names.map(p -> p.getFileName().toString()))
          .containsExactlyInAnyOrder("config.json", "model.safetensors");
    }
    assertThat(temp.resolve("escape.json")).doesNotExist();
  }

  @Test
  void theTokenStaysWithTheHub() {
    pull();
    assertThat(requests).filteredOn(r -> r.startsWith("hub")).allMatch(r -> r.contains("Bearer"));
    assertThat(requests)
        .filteredOn(r -> r.startsWith("store"))
        .isNotEmpty()
        .noneMatch(r -> r.contains("Bearer"));
  }

  @Test
  void goesOnWhereADownloadBrokeOff() {
    breaksOff = true;
    pull();
    assertThat(temp.resolve("model/model.safetensors")).hasBinaryContent(weights());
    assertThat(requests).anyMatch(r -> r.startsWith("store") && r.contains("bytes="));
  }

  @Test
  void fetchesNothingTwice() {
    pull();
    requests.clear();
    assertThat(pull().bytes()).isZero();
    assertThat(requests).noneMatch(r -> r.startsWith("store"));
  }

  @Test
  void throwsAwayWhatHasAnotherHash() {
    lies = true;
    assertThatThrownBy(this::pull)
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("not what the hub announced");
    assertThat(temp.resolve("model")).isEmptyDirectory();
  }

  @Test
  void saysWhatIsWrong() {
    ModelHub open = new ModelHub(address(hub), Optional.empty());
    assertThatThrownBy(() -> open.pull("secret/model", "main", temp.resolve("a"), file -> {}))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("HF_TOKEN");
    assertThatThrownBy(() -> open.pull("no/model", "main", temp.resolve("b"), file -> {}))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("no such model");
    assertThatThrownBy(() -> open.pull("../etc", "main", temp.resolve("c"), file -> {}))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("ORGANISATION/MODEL");
    files.remove("model.safetensors");
    assertThatThrownBy(() -> open.pull("some/model", "main", temp.resolve("d"), file -> {}))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("no .safetensors weights");
  }
}
