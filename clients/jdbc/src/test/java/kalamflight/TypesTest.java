package kalamflight;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.sql.Connection;
import java.sql.Date;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Time;
import java.sql.Timestamp;
import java.sql.Types;
import java.time.Instant;
import java.time.OffsetDateTime;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Each type of column, read and bound. */
class TypesTest {
  private static Connection root;

  @BeforeAll
  static void open() throws SQLException {
    root = Server.connect("&user=root&password=");
  }

  @AfterAll
  static void close() throws SQLException {
    root.close();
  }

  private record Read(String type, String literal, int code, String object, String text) {}

  private static final String UUID = "00112233-4455-6677-8899-aabbccddeeff";

  private static final Read[] READS = {
    new Read("BOOLEAN", "true", Types.BOOLEAN, "Boolean", "true"),
    new Read("SMALLINT", "-7", Types.SMALLINT, "Short", "-7"),
    new Read("INT", "7", Types.INTEGER, "Integer", "7"),
    new Read("BIGINT", "9007199254740993", Types.BIGINT, "Long", "9007199254740993"),
    new Read("FLOAT", "0.5", Types.FLOAT, "Double", "0.5"),
    new Read("DOUBLE", "1e300", Types.DOUBLE, "Double", "1.0E300"),
    new Read("DECIMAL(38,10)", "1234567890123456789012345678.0123456789", Types.DECIMAL, "BigDecimal",
        "1234567890123456789012345678.0123456789"),
    new Read("TEXT", "'Grüße'", Types.VARCHAR, "String", "Grüße"),
    new Read("BYTES", "'ab'", Types.VARBINARY, "byte[]", "ab"),
    new Read("UUID", "'" + UUID + "'", Types.BINARY, "byte[]", null), // the driver makes a text of the 16 bytes
    new Read("JSON", "'{\"a\": 1}'", Types.VARCHAR, "String", "{\"a\": 1}"),
    new Read("DATE", "'1969-12-31'", Types.DATE, "Date", "1969-12-31"),
    new Read("TIME", "'23:59:59.123'", Types.TIME, "ArrowFlightJdbcTime", "23:59:59.123"),
    new Read("TIMESTAMP", "'2026-01-02 03:04:05.000006'", Types.TIMESTAMP, "Timestamp", "2026-01-02 03:04:05.000006"),
    new Read("DATETIME", "'2026-01-02 03:04:05+01:00'", Types.TIMESTAMP_WITH_TIMEZONE, null, null), // see below
    new Read("INTERVAL", "'1 day 2 hours'", Types.JAVA_OBJECT, "PeriodDuration", "P1DT2H"),
    new Read("EMBEDDING(3)", "[1, 2.5, -3]", Types.ARRAY, "ArrowFlightJdbcArray", "[1.0,2.5,-3.0]"),
    new Read("FILE", "'a.png'", Types.VARCHAR, "String", "a.png"),
  };

  @Test
  void everyTypeIsRead() throws SQLException {
    for (Read want : READS) {
      String sql = "SELECT CAST(" + want.literal + " AS " + want.type + ") AS x, CAST(NULL AS " + want.type + ") AS y";
      try (Statement s = root.createStatement(); ResultSet rows = s.executeQuery(sql)) {
        assertTrue(rows.next());
        assertEquals(want.code, rows.getMetaData().getColumnType(1), want.type);
        if (want.object != null) {
          assertEquals(want.object, rows.getObject(1).getClass().getSimpleName(), want.type);
          assertNull(rows.getObject(2), want.type);
        }
        if (want.text != null) {
          assertEquals(want.text, rows.getString(1), want.type);
        }
        assertNull(rows.getString(2), want.type);
        assertTrue(rows.wasNull(), want.type);
      }
    }
    Server.works("every type read");
  }

  @Test
  void timesWithZone() throws SQLException {
    String sql = "SELECT CAST('2026-01-02 03:04:05+01:00' AS DATETIME) AS x";
    try (Statement s = root.createStatement(); ResultSet rows = s.executeQuery(sql)) {
      assertTrue(rows.next());
      assertEquals(Instant.parse("2026-01-02T02:04:05Z"), rows.getObject(1, OffsetDateTime.class).toInstant());
      RuntimeException e = assertThrows(RuntimeException.class, () -> rows.getObject(1));
      assertEquals("not implemented", e.getMessage());
      Server.lacks("getObject(i) of DATETIME: use getTimestamp or OffsetDateTime");
    }
  }

  /** The driver puts milliseconds into a timestamp of any unit: the server announces those to it. */
  @Test
  void everyTypeIsBound() throws SQLException {
    String sql = "SELECT ?::DATE, ?::TIME, ?::TIMESTAMP, ?::DATETIME, ?::BYTES, ?::UUID::TEXT, ?::SMALLINT, ?::INT, ?::FLOAT, "
        + "?::BOOLEAN, ?::EMBEDDING(2)";
    try (PreparedStatement s = root.prepareStatement(sql)) {
      s.setDate(1, Date.valueOf("2026-01-02"));
      s.setTime(2, Time.valueOf("01:02:03"));
      s.setTimestamp(3, Timestamp.valueOf("2026-01-02 03:04:05.006"));
      s.setTimestamp(4, Timestamp.valueOf("1969-01-02 03:04:05.006"));
      s.setBytes(5, new byte[] {'a', 'b'});
      s.setString(6, UUID);
      s.setShort(7, (short) -4);
      s.setInt(8, 5);
      s.setFloat(9, 0.5f);
      s.setBoolean(10, true);
      s.setArray(11, root.createArrayOf("FLOAT", new Object[] {1f, 2f}));
      String[] want = {"2026-01-02", "01:02:03", "2026-01-02 03:04:05.006", "1969-01-02 03:04:05.006", "ab", UUID, "-4", "5", "0.5",
        "true", "[1.0,2.0]"};
      try (ResultSet rows = s.executeQuery()) {
        assertTrue(rows.next());
        for (int i = 0; i < want.length; i++) {
          assertEquals(want[i], rows.getString(i + 1), "parameter " + (i + 1));
        }
      }
    }
    Server.works("parameters");
    Server.lacks("binds times as milliseconds");
  }

  @Test
  void nullsOfEveryType() throws SQLException {
    for (Read each : READS) {
      try (PreparedStatement s = root.prepareStatement("SELECT CAST(? AS " + each.type + ") AS x")) {
        s.setNull(1, Types.NULL);
        try (ResultSet rows = s.executeQuery()) {
          assertTrue(rows.next());
          assertNull(rows.getString(1), each.type);
        }
      }
    }
    Server.works("nulls");
  }
}
