package kalamflight;

import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;

/** The running servers, which clients/run has started, and the list of results that it keeps. */
final class Server {
  private Server() {}

  /** Connects in plaintext; more is the rest of the URL, which begins with an ampersand. */
  static Connection connect(String more) throws SQLException {
    return open("KALAMFLIGHT_URL", "useEncryption=false" + more);
  }

  /** Connects with TLS as root; more says what to trust. */
  static Connection connectTLS(String more) throws SQLException {
    return open("KALAMFLIGHT_TLS_URL",
        "useEncryption=true&user=root&password=" + System.getenv("KALAMFLIGHT_TLS_PASSWORD") + more);
  }

  /** The certificate of the authority of the server with TLS, in PEM. */
  static String authority() {
    return System.getenv("KALAMFLIGHT_TLS_CA");
  }

  private static Connection open(String variable, String options) throws SQLException {
    URI server = URI.create(System.getenv(variable));
    return DriverManager.getConnection(
        "jdbc:arrow-flight-sql://" + server.getHost() + ":" + server.getPort() + "/?" + options);
  }

  /** Notes that an area of use works: it becomes a part of the table in README.md. */
  static void works(String area) {
    note("works", area);
  }

  /** Notes what the driver itself cannot do; the caller has just seen that it does not. */
  static void lacks(String what) {
    note("lacks", what);
  }

  private static synchronized void note(String verdict, String text) {
    String results = System.getenv("KALAMFLIGHT_RESULTS");
    if (results == null) {
      return;
    }
    String line = String.join("\t", "jdbc", System.getProperty("driver.version"), verdict, text) + "\n";
    try {
      Files.writeString(Path.of(results), line, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }
}
