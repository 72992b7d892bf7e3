package kalamflight;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Types;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** What the driver tells of the database, of results and of parameters. */
class MetadataTest {
  /** The driver (18.3) throws "todo: implement this method" in these, without asking the server. */
  private static final Set<String> NOT_WRITTEN = Set.of("deletesAreDetected", "insertsAreDetected", "updatesAreDetected",
      "othersDeletesAreVisible", "othersInsertsAreVisible", "othersUpdatesAreVisible", "ownDeletesAreVisible",
      "ownInsertsAreVisible", "ownUpdatesAreVisible", "supportsResultSetHoldability");

  private static Connection root;

  @BeforeAll
  static void open() throws SQLException {
    root = Server.connect("&user=root&password=");
    try (Statement s = root.createStatement()) {
      s.executeUpdate("CREATE NAMESPACE IF NOT EXISTS jdbc_meta");
      s.executeUpdate("DROP TABLE IF EXISTS jdbc_meta.things");
      s.executeUpdate("CREATE SHARED TABLE jdbc_meta.things (id BIGINT PRIMARY KEY, name TEXT NOT NULL, price DECIMAL(10,2))");
    }
  }

  @AfterAll
  static void close() throws SQLException {
    root.close();
  }

  private static Object argument(Method getter, Class<?> type, int position) {
    if (type == String.class) {
      return new String[] {null, "jdbc_meta", "things", null, "jdbc_meta", "things"}[position];
    }
    if (type == int.class) {
      return getter.getName().equals("supportsTransactionIsolationLevel")
          ? Connection.TRANSACTION_SERIALIZABLE : ResultSet.TYPE_FORWARD_ONLY;
    }
    return type == boolean.class ? Boolean.FALSE : null;
  }

  private static void readAll(ResultSet rows) throws SQLException {
    try (rows) {
      while (rows.next()) {
        for (int i = 1; i <= rows.getMetaData().getColumnCount(); i++) {
          rows.getObject(i);
        }
      }
    }
  }

  /** Each getter of DatabaseMetaData answers, but for those that the driver has not written. */
  @Test
  void everyGetterOfTheDatabase() throws Exception {
    DatabaseMetaData meta = root.getMetaData();
    Map<String, String> failed = new TreeMap<>();
    int answered = 0;
    for (Method getter : DatabaseMetaData.class.getMethods()) {
      if (Set.of("unwrap", "isWrapperFor").contains(getter.getName())) {
        continue;
      }
      Class<?>[] types = getter.getParameterTypes();
      Object[] arguments = new Object[types.length];
      for (int i = 0; i < types.length; i++) {
        arguments[i] = argument(getter, types[i], i);
      }
      try {
        if (getter.invoke(meta, arguments) instanceof ResultSet rows) {
          readAll(rows);
        }
        answered++;
      } catch (InvocationTargetException e) {
        failed.put(getter.getName(), String.valueOf(e.getCause()));
      }
    }
    assertEquals(NOT_WRITTEN, failed.keySet(), failed.toString());
    assertTrue(failed.values().stream().allMatch(why -> why.contains("todo: implement")), failed.toString());
    assertTrue(answered > 160, "answered: " + answered);
    Server.works("metadata (" + answered + " getters)");
    Server.lacks(failed.size() + " getters of DatabaseMetaData are not written (ownInsertsAreVisible and the like)");
  }

  /** Programs generate classes and tables from these. */
  @Test
  void resultsAndParameters() throws SQLException {
    String sql = "SELECT id, name AS called, price, price * 2 AS twice FROM jdbc_meta.things WHERE id > ? AND name = ?";
    try (PreparedStatement s = root.prepareStatement(sql)) {
      assertEquals(2, s.getParameterMetaData().getParameterCount());
      s.setLong(1, 0);
      s.setString(2, "x");
      try (ResultSet rows = s.executeQuery()) {
        ResultSetMetaData meta = rows.getMetaData();
        assertEquals(4, meta.getColumnCount());
        assertEquals("id", meta.getColumnName(1));
        assertEquals("called", meta.getColumnLabel(2));
        assertEquals(Types.BIGINT, meta.getColumnType(1));
        assertEquals(Types.VARCHAR, meta.getColumnType(2));
        assertEquals(Types.DECIMAL, meta.getColumnType(3));
        assertEquals(10, meta.getPrecision(3));
        assertEquals(2, meta.getScale(3));
        assertEquals("things", meta.getTableName(1));
        assertEquals("kalam", meta.getCatalogName(1));
        for (Method getter : ResultSetMetaData.class.getMethods()) {
          if (getter.getParameterCount() == 1 && getter.getParameterTypes()[0] == int.class) {
            getter.invoke(meta, 1);
          }
        }
      } catch (ReflectiveOperationException e) {
        throw new AssertionError(e.getCause());
      }
    }
  }
}
