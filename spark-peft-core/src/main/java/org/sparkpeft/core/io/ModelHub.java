package org.sparkpeft.core.io;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;
import java.util.function.Consumer;
import java.util.regex.Pattern;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;

/**
 * Fetches models from a hub that speaks Hugging Face's interface. Every file is checked against the
 * hash that the hub announces before it gets its name; what an interrupted download left is
 * continued. The access token goes to the hub alone, not to the hosts it redirects to.
 */
public final class ModelHub {
  /** Name of an organisation and a model. */
  private static final Pattern NAME =
      Pattern.compile("[A-Za-z0-9][\\w.-]{0,95}/[A-Za-z0-9][\\w.-]{0,95}");

  private static final Pattern REVISION = Pattern.compile("[\\w][\\w./-]{0,199}");

  /** Files in the model's own folder that a model is read from, and nothing with code in it. */
  private static final Pattern WANTED =
      Pattern.compile("[A-Za-z0-9][\\w.-]*\\.(json|safetensors|model|txt)");

  private static final Pattern SHA256 = Pattern.compile("[0-9a-f]{64}");
  private static final Pattern GIT_SHA1 = Pattern.compile("[0-9a-f]{40}");
  private static final int MAX_REDIRECTS = 5;
  private static final int ATTEMPTS = 3;
  private static final int BUFFER = 1 << 16;

  private final URI endpoint;
  private final Optional<String> token;
  private final HttpClient client;

  /**
   * @param endpoint address of the hub, {@code HF_ENDPOINT}
   * @param token access token, {@code HF_TOKEN}, if any
   */
  public ModelHub(URI endpoint, Optional<String> token) {
    this.endpoint = endpoint;
    this.token = token;
    this.client =
        HttpClient.newBuilder()
            .followRedirects(HttpClient.Redirect.NEVER)
            .connectTimeout(Duration.ofSeconds(30))
            .build();
  }

  /**
   * What was fetched.
   *
   * @param commit the revision's commit
   * @param files names of the model's files, whether fetched now or before
   * @param bytes fetched now
   */
  public record Pulled(String commit, List<String> files, long bytes) {}

  /**
   * Fetches a model's configuration, tokenizer and safetensors weights into a folder. Files that
   * are there in the right form stay.
   *
   * @param name {@code ORGANISATION/MODEL}
   * @param revision branch, tag or commit
   * @param progress told of each file as it begins
   * @throws DataException if the hub cannot be reached, does not have the model or does not show it
   * @throws FormatException if what arrives is not what the hub announced
   */
  public Pulled pull(String name, String revision, Path folder, Consumer<String> progress) {
    if (!NAME.matcher(name).matches() || !REVISION.matcher(revision).matches()) {
      throw new DataException(
          "a model is named ORGANISATION/MODEL and a revision by letters, digits and ._/-; got "
              + name
              + " at "
              + revision);
    }
    try {
      JsonNode model = information(name, revision);
      String commit = model.path("sha").asText();
      if (!GIT_SHA1.matcher(commit).matches()) {
        throw new FormatException(endpoint.toString(), "says no commit for " + name);
      }
      List<String> files = new ArrayList<>();
      for (JsonNode file : model.path("siblings")) {
        String path = file.path("rfilename").asText();
        if (WANTED.matcher(path).matches()) {
          files.add(path);
        }
      }
      if (files.stream().noneMatch(file -> file.endsWith(".safetensors"))) {
        throw new DataException(name + " has no .safetensors weights at " + revision);
      }
      Files.createDirectories(folder);
      long bytes = 0;
      for (String file : files) {
        progress.accept(file);
        bytes += fetch(name + "/resolve/" + commit + "/" + file, folder.resolve(file));
      }
      return new Pulled(commit, files, bytes);
    } catch (IOException e) {
      throw new DataException(
          name
              + " cannot be fetched from "
              + endpoint
              + ": "
              + e.getMessage()
              + "; what has arrived is kept, so the same command goes on from there",
          e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new DataException("fetching " + name + " was interrupted", e);
    }
  }

  private JsonNode information(String name, String revision)
      throws IOException, InterruptedException {
    URI address = resolve("api/models/" + name + "/revision/" + revision.replace("/", "%2F"));
    HttpResponse<InputStream> response = send(address, 0, "GET");
    try (InputStream body = response.body()) {
      require(response, address, 200);
      byte[] bytes = body.readNBytes(Json.MAX_CONFIG_BYTES + 1);
      if (bytes.length > Json.MAX_CONFIG_BYTES) {
        throw new FormatException(address.toString(), "is too long for a description of a model");
      }
      return Json.readObject(bytes, address.toString());
    }
  }

  private URI resolve(String path) {
    String base = endpoint.toString();
    return URI.create((base.endsWith("/") ? base : base + "/") + path);
  }

  /** Fetches a file unless it is there; returns the bytes that were fetched. */
  private long fetch(String path, Path target) throws IOException, InterruptedException {
    URI address = resolve(path);
    Announced announced = announced(address);
    if (Files.exists(target) && announced.matches(target)) {
      return 0;
    }
    Path partial = target.resolveSibling("." + target.getFileName() + ".part");
    long before = Files.exists(partial) ? Files.size(partial) : 0;
    for (int attempt = 1; ; attempt++) {
      try {
        download(address, partial);
        break;
      } catch (IOException e) {
        if (attempt == ATTEMPTS) {
          throw e;
        }
      }
    }
    if (!announced.matches(partial)) {
      Files.delete(partial);
      throw new FormatException(
          address.toString(),
          "is not what the hub announced (hash " + announced.hash + "); it was thrown away");
    }
    long fetched = Files.size(partial) - before;
    Files.move(
        partial, target, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    return Math.max(0, fetched);
  }

  /**
   * What the hub says of a file.
   *
   * @param hash SHA-256 of its bytes, or git's SHA-1 of it
   */
  private record Announced(String hash) {
    boolean matches(Path file) throws IOException {
      return hash.length() == 64 ? Sha256.hex(file).equals(hash) : gitSha1(file).equals(hash);
    }

    private static String gitSha1(Path file) throws IOException {
      try (InputStream in = Files.newInputStream(file)) {
        MessageDigest digest = MessageDigest.getInstance("SHA-1");
        digest.update(("blob " + Files.size(file) + "\0").getBytes(StandardCharsets.US_ASCII));
        byte[] buffer = new byte[BUFFER];
        for (int n = in.read(buffer); n >= 0; n = in.read(buffer)) {
          digest.update(buffer, 0, n);
        }
        return HexFormat.of().formatHex(digest.digest());
      } catch (NoSuchAlgorithmException e) {
        throw new IllegalStateException("every Java runtime has SHA-1", e);
      }
    }
  }

  private Announced announced(URI address) throws IOException, InterruptedException {
    HttpRequest request = request(address, true).method("HEAD", noBody()).build();
    HttpResponse<Void> response = client.send(request, HttpResponse.BodyHandlers.discarding());
    if (response.statusCode() >= 400) {
      require(response, address, 200);
    }
    for (String header : List.of("x-linked-etag", "etag")) {
      String value =
          response.headers().firstValue(header).orElse("").replace("\"", "").replace("W/", "");
      if (SHA256.matcher(value).matches() || GIT_SHA1.matcher(value).matches()) {
        return new Announced(value);
      }
    }
    throw new FormatException(address.toString(), "the hub announces no hash for it");
  }

  /** Appends to {@code partial} what is missing. */
  private void download(URI address, Path partial) throws IOException, InterruptedException {
    long there = Files.exists(partial) ? Files.size(partial) : 0;
    HttpResponse<InputStream> response = send(address, there, "GET");
    try (InputStream body = response.body()) {
      if (there > 0 && response.statusCode() == 416) {
        return; // nothing is missing; the hash will tell
      }
      boolean goesOn = response.statusCode() == 206;
      if (!goesOn) {
        require(response, address, 200);
      }
      try (OutputStream out =
          goesOn
              ? Files.newOutputStream(partial, StandardOpenOption.APPEND)
              : Files.newOutputStream(partial)) {
        byte[] buffer = new byte[BUFFER];
        for (int n = body.read(buffer); n >= 0; n = body.read(buffer)) {
          out.write(buffer, 0, n);
        }
      }
    }
  }

  private HttpResponse<InputStream> send(URI address, long from, String method)
      throws IOException, InterruptedException {
    URI next = address;
    for (int i = 0; i <= MAX_REDIRECTS; i++) {
      HttpRequest.Builder request = request(next, isHub(next)).method(method, noBody());
      if (from > 0) {
        request.header("Range", "bytes=" + from + "-");
      }
      HttpResponse<InputStream> response =
          client.send(request.build(), HttpResponse.BodyHandlers.ofInputStream());
      if (response.statusCode() / 100 != 3) {
        return response;
      }
      response.body().close();
      String location =
          response
              .headers()
              .firstValue("location")
              .orElseThrow(() -> new IOException("a redirect to nowhere from " + address));
      next = next.resolve(location);
      if (endpoint.getScheme().equals("https") && !"https".equals(next.getScheme())) {
        throw new IOException("a redirect from https to " + next.getScheme() + " was refused");
      }
    }
    throw new IOException("more than " + MAX_REDIRECTS + " redirects from " + address);
  }

  private boolean isHub(URI address) {
    return endpoint.getScheme().equals(address.getScheme())
        && endpoint.getHost().equals(address.getHost())
        && endpoint.getPort() == address.getPort();
  }

  private HttpRequest.Builder request(URI address, boolean toHub) {
    HttpRequest.Builder request =
        HttpRequest.newBuilder(address)
            .timeout(Duration.ofMinutes(10))
            .header("User-Agent", "spark-peft");
    if (toHub) {
      token.ifPresent(value -> request.header("Authorization", "Bearer " + value));
    }
    return request;
  }

  private static HttpRequest.BodyPublisher noBody() {
    return HttpRequest.BodyPublishers.noBody();
  }

  private void require(HttpResponse<?> response, URI address, int wanted) {
    int status = response.statusCode();
    if (status == wanted) {
      return;
    }
    throw new DataException(
        address
            + " answers "
            + status
            + switch (status) {
              case 401, 403 ->
                  token.isPresent()
                      ? ": the token in HF_TOKEN may not read it"
                      : ": set HF_TOKEN to an access token that may read it, or check the name";
              case 404 -> ": there is no such model, revision or file; check the name";
              default -> "; try again later";
            });
  }
}
