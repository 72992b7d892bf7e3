package kalamflight;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Types;
import java.time.Duration;
import java.util.HashSet;
import java.util.Set;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** What the unmodified Flight SQL JDBC driver does on a server. */
class DriverTest {
  private static final String SPACE = "jdbc";
  private static Connection root;

  static Connection connect(String credentials) throws SQLException {
    return Server.connect(credentials);
  }

  @BeforeAll
  static void open() throws SQLException {
    root = connect("&user=root&password=");
    run("DROP NAMESPACE IF EXISTS " + SPACE + " CASCADE");
    run("CREATE NAMESPACE " + SPACE);
    run("CREATE SHARED TABLE jdbc.items (id BIGINT PRIMARY KEY, name TEXT, price DECIMAL(10,2), seen BOOLEAN) "
        + "WITH (ACCESS_LEVEL = 'public')");
  }

  @AfterAll
  static void close() throws SQLException {
    root.close();
  }

  static int run(String sql) throws SQLException {
    try (Statement s = root.createStatement()) {
      return s.executeUpdate(sql);
    }
  }

  @Test
  void preparedInsertAndSelect() throws SQLException {
    try (PreparedStatement insert = root.prepareStatement("INSERT INTO jdbc.items (id, name, price, seen) VALUES (?, ?, ?, ?)")) {
      insert.setLong(1, 9007199254740993L);
      insert.setString(2, "Grüße 日本");
      insert.setBigDecimal(3, new BigDecimal("12.50"));
      insert.setBoolean(4, true);
      assertEquals(1, insert.executeUpdate());
      insert.setLong(1, 2);
      insert.setNull(2, Types.VARCHAR);
      insert.setBigDecimal(3, new BigDecimal("-0.01"));
      insert.setBoolean(4, false);
      assertEquals(1, insert.executeUpdate());
    }
    try (PreparedStatement select = root.prepareStatement("SELECT id, name, price, seen FROM jdbc.items WHERE id = ?")) {
      select.setLong(1, 9007199254740993L);
      try (ResultSet rows = select.executeQuery()) {
        assertTrue(rows.next());
        assertEquals(9007199254740993L, rows.getLong("id"));
        assertEquals("Grüße 日本", rows.getString("name"));
        assertEquals(new BigDecimal("12.50"), rows.getBigDecimal("price"));
        assertTrue(rows.getBoolean("seen"));
        assertFalse(rows.next());
      }
      select.setLong(1, 2);
      try (ResultSet rows = select.executeQuery()) {
        assertTrue(rows.next());
        assertNull(rows.getString("name"));
      }
    }
  }

  @Test
  void batchesRunEachRowOnce() throws SQLException {
    run("CREATE SHARED TABLE jdbc.batch (id BIGINT PRIMARY KEY)");
    try (PreparedStatement insert = root.prepareStatement("INSERT INTO jdbc.batch (id) VALUES (?)")) {
      for (int i = 0; i < 500; i++) {
        insert.setLong(1, i);
        insert.addBatch();
      }
      insert.executeBatch();
    }
    try (Statement s = root.createStatement(); ResultSet rows = s.executeQuery("SELECT count(*), sum(id) FROM jdbc.batch")) {
      assertTrue(rows.next());
      assertEquals(500, rows.getLong(1));
      assertEquals(124750, rows.getLong(2));
    }
    Server.works("batches");
  }

  @Test
  void updatesWithoutParametersRunOnce() throws SQLException {
    run("CREATE SHARED TABLE jdbc.once (id BIGINT PRIMARY KEY, n INT)");
    assertEquals(2, run("INSERT INTO jdbc.once VALUES (1, 0), (2, 0)"));
    assertEquals(2, run("UPDATE jdbc.once SET n = n + 1"));
    try (PreparedStatement update = root.prepareStatement("UPDATE jdbc.once SET n = n + 1")) {
      assertEquals(2, update.executeUpdate());
    }
    try (Statement s = root.createStatement(); ResultSet rows = s.executeQuery("SELECT n FROM jdbc.once")) {
      for (int i = 0; i < 2; i++) {
        assertTrue(rows.next());
        assertEquals(2, rows.getInt(1));
      }
    }
  }

  @Test
  void metadataListsTablesAndColumns() throws SQLException {
    DatabaseMetaData meta = root.getMetaData();
    assertFalse(meta.getDatabaseProductName().isEmpty());
    Set<String> tables = new HashSet<>();
    try (ResultSet rows = meta.getTables(null, SPACE, "%", new String[] {"TABLE"})) {
      while (rows.next()) {
        assertEquals(SPACE, rows.getString("TABLE_SCHEM"));
        tables.add(rows.getString("TABLE_NAME"));
      }
    }
    assertTrue(tables.contains("items"), tables.toString());
    Set<String> columns = new HashSet<>();
    try (ResultSet rows = meta.getColumns(null, SPACE, "items", "%")) {
      while (rows.next()) {
        columns.add(rows.getString("COLUMN_NAME") + ":" + rows.getInt("DATA_TYPE"));
      }
    }
    assertTrue(columns.contains("id:" + Types.BIGINT), columns.toString());
    assertTrue(columns.contains("price:" + Types.DECIMAL), columns.toString());
    try (ResultSet rows = meta.getPrimaryKeys(null, SPACE, "items")) {
      assertTrue(rows.next());
      assertEquals("id", rows.getString("COLUMN_NAME"));
    }
    try (ResultSet rows = meta.getSchemas()) {
      Set<String> schemas = new HashSet<>();
      while (rows.next()) {
        schemas.add(rows.getString("TABLE_SCHEM"));
      }
      assertTrue(schemas.contains(SPACE), schemas.toString());
    }
    assertTrue(meta.getTypeInfo() != null);
  }

  /** The driver returns from executeQuery only when a row has come: a subscription must send one without any write. */
  @Test
  void subscriptionBeginsWithARow() throws SQLException {
    run("CREATE SHARED TABLE jdbc.quiet (id BIGINT PRIMARY KEY, body TEXT)");
    assertTimeoutPreemptively(Duration.ofSeconds(20), () -> {
      try (Connection c = connect("&user=root&password="); Statement s = c.createStatement();
          ResultSet rows = s.executeQuery("SUBSCRIBE TO jdbc.quiet")) {
        assertTrue(rows.next());
        assertEquals("progress", rows.getString("_op"));
        run("INSERT INTO jdbc.quiet VALUES (1, 'salaam')");
        do {
          assertTrue(rows.next());
        } while (rows.getString("_op").equals("progress"));
        assertEquals("insert", rows.getString("_op"));
        assertEquals(1, rows.getLong("id"));
        assertEquals("salaam", rows.getString("body"));
        s.cancel();
      }
    });
  }

  @Test
  void usersSeeTheirOwnRows() throws SQLException {
    run("CREATE USER TABLE jdbc.notes (id BIGINT PRIMARY KEY, body TEXT)");
    for (String user : new String[] {"jdbc_ali", "jdbc_bea"}) {
      run("CREATE USER '" + user + "' WITH PASSWORD 'a long enough one' ROLE 'user'");
      try (Connection c = connect("&user=" + user + "&password=a%20long%20enough%20one"); Statement s = c.createStatement()) {
        assertEquals(1, s.executeUpdate("INSERT INTO jdbc.notes VALUES (1, 'of " + user + "')"));
        try (ResultSet rows = s.executeQuery("SELECT body FROM jdbc.notes")) {
          assertTrue(rows.next());
          assertEquals("of " + user, rows.getString(1));
          assertFalse(rows.next());
        }
      }
    }
    assertThrows(SQLException.class, () -> connect("&user=jdbc_ali&password=wrong"));
  }

  @Test
  void errorsSayWhere() {
    SQLException e = assertThrows(SQLException.class, () -> run("SELEC 1"));
    assertTrue(e.getMessage().contains("line 1"), e.getMessage());
  }
}
