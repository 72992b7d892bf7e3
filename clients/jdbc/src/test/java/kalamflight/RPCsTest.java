package kalamflight;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.net.URI;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.stream.IntStream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledIfEnvironmentVariable;

/** The calls that the driver makes, for the record in clients/rpcs: clients/run puts a proxy before the server and compares. */
@EnabledIfEnvironmentVariable(named = "KALAMFLIGHT_RECORDED_URL", matches = ".+")
class RPCsTest {
  private static Connection connect(String variable, String more) throws SQLException {
    URI server = URI.create(System.getenv(variable));
    return DriverManager.getConnection("jdbc:arrow-flight-sql://" + server.getHost() + ":" + server.getPort()
        + "/?useEncryption=false&user=root&password=" + more);
  }

  // A parameter that the driver does not know becomes a header.
  private static Connection part(String name) throws SQLException {
    return connect("KALAMFLIGHT_RECORDED_URL", "&x-recorded=jdbc/" + name);
  }

  @BeforeAll
  static void table() throws SQLException {
    try (Connection c = connect("KALAMFLIGHT_URL", ""); Statement s = c.createStatement()) {
      s.executeUpdate("CREATE SHARED TABLE IF NOT EXISTS default.jdbc_rpcs (id BIGINT PRIMARY KEY, name TEXT)");
      s.executeUpdate("DELETE FROM default.jdbc_rpcs");
    }
  }

  @Test
  void open() throws SQLException {
    try (Connection c = part("connect")) {
      assertTrue(c.isValid(5));
    }
  }

  @Test
  void query() throws SQLException {
    try (Connection c = part("query"); Statement s = c.createStatement(); ResultSet rows = s.executeQuery("SELECT 1")) {
      assertTrue(rows.next());
      assertEquals(1, rows.getInt(1));
    }
  }

  @Test
  void update() throws SQLException {
    try (Connection c = part("update"); Statement s = c.createStatement()) {
      assertEquals(1, s.executeUpdate("INSERT INTO default.jdbc_rpcs VALUES (1, 'a')"));
    }
  }

  @Test
  void prepared() throws SQLException {
    try (Connection c = part("prepared");
        PreparedStatement insert = c.prepareStatement("INSERT INTO default.jdbc_rpcs VALUES (?, ?)")) {
      for (int i = 2; i < 4; i++) {
        insert.setLong(1, i);
        insert.setString(2, "b");
        insert.addBatch();
      }
      assertEquals(2, IntStream.of(insert.executeBatch()).sum()); // the driver has one count for all
    }
  }

  @Test
  void metadata() throws SQLException {
    try (Connection c = part("metadata")) {
      DatabaseMetaData meta = c.getMetaData();
      assertEquals("kalamflight", meta.getDatabaseProductName());
      for (ResultSet rows : new ResultSet[] {meta.getCatalogs(), meta.getSchemas(), meta.getTableTypes(),
          meta.getTables(null, "default", "jdbc%", null), meta.getColumns(null, "default", "jdbc_rpcs", null),
          meta.getPrimaryKeys(null, "default", "jdbc_rpcs"), meta.getImportedKeys(null, "default", "jdbc_rpcs"),
          meta.getExportedKeys(null, "default", "jdbc_rpcs"), meta.getTypeInfo()}) {
        try (rows) {
          while (rows.next()) {}
        }
      }
    }
  }
}
