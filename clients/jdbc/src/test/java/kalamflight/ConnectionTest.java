package kalamflight;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.InputStream;
import java.io.OutputStream;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.SQLFeatureNotSupportedException;
import java.sql.Statement;
import java.time.Duration;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** How the driver connects, ends transactions, and cancels. */
class ConnectionTest {
  private static final String ROOT = "&user=root&password=";
  private static final Duration LIMIT = Duration.ofSeconds(60);
  private static Connection root;

  @BeforeAll
  static void open() throws SQLException {
    root = Server.connect(ROOT);
    run(root, "CREATE NAMESPACE IF NOT EXISTS jdbc_conn");
    run(root, "DROP TABLE IF EXISTS jdbc_conn.rows");
    run(root, "CREATE SHARED TABLE jdbc_conn.rows (id BIGINT PRIMARY KEY, name TEXT)");
  }

  @AfterAll
  static void close() throws SQLException {
    root.close();
  }

  private static int run(Connection c, String sql) throws SQLException {
    try (Statement s = c.createStatement()) {
      return s.executeUpdate(sql);
    }
  }

  private static String first(Connection c, String sql) throws SQLException {
    try (Statement s = c.createStatement(); ResultSet rows = s.executeQuery(sql)) {
      assertTrue(rows.next());
      return rows.getString(1);
    }
  }

  private static void selectsOverTLS(String trust) throws SQLException {
    try (Connection c = Server.connectTLS(trust)) {
      assertEquals("root", first(c, "SELECT CURRENT_USER()"));
    }
  }

  private static String trustStore(Path folder) throws Exception {
    KeyStore store = KeyStore.getInstance("JKS");
    store.load(null, null);
    try (InputStream in = Files.newInputStream(Path.of(Server.authority()))) {
      store.setCertificateEntry("authority", CertificateFactory.getInstance("X.509").generateCertificate(in));
    }
    Path file = folder.resolve("trust.jks");
    try (OutputStream out = Files.newOutputStream(file)) {
      store.store(out, "changeit".toCharArray());
    }
    return file.toString();
  }

  @Test
  void tls(@TempDir Path folder) throws Exception {
    selectsOverTLS("&tlsRootCerts=" + Server.authority());
    selectsOverTLS("&useSystemTrustStore=false&tlsRootCerts=" + Server.authority());
    selectsOverTLS("&useSystemTrustStore=false&trustStore=" + trustStore(folder) + "&trustStorePassword=changeit");
    selectsOverTLS("&disableCertificateVerification=true");
    assertThrows(SQLException.class, () -> Server.connectTLS(""));
    Server.works("TLS");
  }

  @Test
  void tokens() throws SQLException {
    run(root, "CREATE USER 'jdbc_token' WITH PASSWORD 'a long enough one' ROLE 'user'");
    String token;
    try (Statement s = root.createStatement();
        ResultSet rows = s.executeQuery("CREATE TOKEN jdbc FOR USER 'jdbc_token' EXPIRES IN '1 day'")) {
      assertTrue(rows.next());
      token = rows.getString("token");
    }
    String option = "&token=" + URLEncoder.encode(token, StandardCharsets.UTF_8);
    try (Connection c = Server.connect(option)) {
      assertEquals("jdbc_token", first(c, "SELECT CURRENT_USER()"));
    }
    assertThrows(SQLException.class, () -> Server.connect(option + "x").close());
    Server.works("passwords and tokens");
  }

  @Test
  void catalogs() throws SQLException {
    // Closing such a connection throws, as the driver (18.3) shuts its channel before it closes the session.
    Connection c = Server.connect(ROOT + "&catalog=kalam");
    assertEquals("1", first(c, "SELECT 1"));
    SQLException closing = assertThrows(SQLException.class, c::close);
    assertTrue(closing.getMessage().contains("Channel shutdown"), closing.getMessage());
    assertThrows(SQLException.class, () -> Server.connect(ROOT + "&catalog=nosuch"));
    Server.lacks("close() throws when `catalog=` was given");
  }

  @Test
  void schemas() throws SQLException {
    try (Connection c = Server.connect(ROOT)) {
      c.setSchema("jdbc_conn"); // kept in the driver, never sent
      assertThrows(SQLException.class, () -> first(c, "SELECT count(*) FROM rows"));
      run(c, "USE jdbc_conn");
      first(c, "SELECT count(*) FROM rows");
    }
    Server.lacks("setSchema is not sent: USE");
  }

  /** The driver (18.3) keeps autocommit to itself, and commit and rollback do nothing; statements do. */
  @Test
  void transactions() throws SQLException {
    String count = "SELECT count(*) FROM jdbc_conn.rows WHERE id ";
    try (Connection c = Server.connect(ROOT)) {
      c.setAutoCommit(false);
      run(c, "INSERT INTO jdbc_conn.rows VALUES (1, 'driver')");
      assertEquals("1", first(root, count + "= 1"));
      c.rollback();
      assertEquals("1", first(root, count + "= 1"));
      assertThrows(SQLFeatureNotSupportedException.class, () -> c.setSavepoint("s"));
    }
    Server.lacks("setAutoCommit(false), commit and rollback do nothing: BEGIN, COMMIT, ROLLBACK");
    try (Connection c = Server.connect(ROOT)) {
      run(c, "BEGIN");
      run(c, "INSERT INTO jdbc_conn.rows VALUES (10, 'mine')");
      assertEquals("1", first(c, count + "= 10"));
      assertEquals("0", first(root, count + "= 10"));
      run(c, "ROLLBACK");
      assertEquals("0", first(c, count + "= 10"));
      run(c, "BEGIN");
      run(c, "INSERT INTO jdbc_conn.rows VALUES (11, 'kept')");
      run(c, "COMMIT");
      assertEquals("1", first(root, count + "= 11"));
    }
    Server.works("transactions by statement");
  }

  private static void cancelSoon(Statement s) {
    Thread thread = new Thread(() -> {
      try {
        Thread.sleep(500);
        s.cancel();
      } catch (InterruptedException | SQLException e) {
        throw new IllegalStateException(e);
      }
    });
    thread.setDaemon(true);
    thread.start();
  }

  /** Waits until the server runs nothing any more whose text has the mark. */
  private static void ends(String table, String mark) throws Exception {
    String sql = "SELECT count(*) FROM system." + table + " WHERE text LIKE '%" + mark + "%' AND text NOT LIKE '%system.%'";
    while (!first(root, sql).equals("0")) {
      Thread.sleep(50);
    }
  }

  @Test
  void cancelledQueries() {
    assertTimeoutPreemptively(LIMIT, () -> {
      try (Connection c = Server.connect(ROOT); Statement s = c.createStatement()) {
        cancelSoon(s);
        assertThrows(SQLException.class, () -> {
          try (ResultSet rows = s.executeQuery("SELECT count(*) FROM range(200000000000) WHERE range % 7 = 3")) {
            rows.next();
          }
        });
      }
      ends("queries", "range(200000000000)");
    });
    Server.works("cancel");
  }

  /** A subscription waits for changes while other statements of the same connection run. */
  @Test
  void subscriptionsBesideStatements() {
    assertTimeoutPreemptively(LIMIT, () -> {
      run(root, "CREATE SHARED TABLE IF NOT EXISTS jdbc_conn.feed (id BIGINT PRIMARY KEY)");
      try (Connection c = Server.connect(ROOT); Statement s = c.createStatement();
          ResultSet rows = s.executeQuery("SUBSCRIBE TO jdbc_conn.feed")) {
        assertTrue(rows.next());
        for (int i = 0; i < 5; i++) {
          run(c, "INSERT INTO jdbc_conn.feed VALUES (" + i + ")");
          do {
            assertTrue(rows.next());
          } while (!rows.getString("_op").equals("insert"));
          assertEquals(i, rows.getLong("id"));
          assertEquals(String.valueOf(i + 1), first(c, "SELECT count(*) FROM jdbc_conn.feed"));
        }
        cancelSoon(s);
        assertThrows(Exception.class, () -> {
          while (rows.next()) {}
        });
        assertFalse(c.isClosed());
      }
      ends("subscriptions", "jdbc_conn.feed");
    });
    Server.works("subscriptions");
  }
}
