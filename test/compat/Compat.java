/** What `npm run compat` asks of JDBC: everything that it hears is printed. The URL is the argument. */
import java.io.ByteArrayOutputStream;
import java.io.StringReader;
import java.io.StringWriter;
import java.sql.*;
import java.util.Arrays;
import java.util.Properties;
import javax.transaction.xa.XAResource;
import javax.transaction.xa.Xid;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.largeobject.LargeObject;
import org.postgresql.largeobject.LargeObjectManager;
import org.postgresql.util.PSQLException;
import org.postgresql.util.ServerErrorMessage;
import org.postgresql.xa.PGXADataSource;

public class Compat {
  interface Part {
    void run(Connection c) throws Exception;
  }

  static String url;

  public static void main(String[] args) throws Exception {
    url = args[0];
    for (String mode : new String[] {"simple", "extended", "extendedForPrepared", "extendedCacheEverything"}) {
      System.out.println("# " + mode);
      try (Connection c = connect(mode)) {
        for (Part part : new Part[] {Compat::queries, Compat::prepared, Compat::batches, Compat::cursors,
            Compat::copies, Compat::notices, Compat::savepoints})
          attempt(c, part);
      }
    }
    System.out.println("# others");
    try (Connection c = connect("extended")) {
      for (Part part : new Part[] {Compat::largeObjects, Compat::notifications, Compat::metadata, Compat::cancels})
        attempt(c, part);
    }
    twoPhase();
  }

  static Properties properties(String mode) {
    Properties more = new Properties();
    more.setProperty("user", System.getenv("PGUSER"));
    more.setProperty("password", System.getenv("PGPASSWORD"));
    more.setProperty("options", System.getenv("PGOPTIONS"));
    more.setProperty("preferQueryMode", mode);
    return more;
  }

  static Connection connect(String mode) throws SQLException {
    return DriverManager.getConnection(url, properties(mode));
  }

  static void attempt(Connection c, Part part) throws SQLException {
    try {
      part.run(c);
    } catch (PSQLException e) {
      ServerErrorMessage m = e.getServerErrorMessage();
      System.out.println(e.getSQLState() + " " + e.getMessage()
          + (m == null ? "" : " " + m.getFile() + " " + m.getLine() + " " + m.getRoutine() + " " + m.getPosition()));
    } catch (Exception e) {
      System.out.println(e);
    }
    if (!c.getAutoCommit()) {
      c.rollback();
      c.setAutoCommit(true);
    }
  }

  static void show(ResultSet rows) throws SQLException {
    ResultSetMetaData m = rows.getMetaData();
    StringBuilder said = new StringBuilder();
    for (int i = 1; i <= Math.min(m.getColumnCount(), 40); i++)
      said.append(m.getColumnName(i)).append(' ').append(m.getColumnTypeName(i)).append(' ')
          .append(m.getTableName(i)).append(", ");
    System.out.println(said);
    for (int n = 0; rows.next(); n++) {
      if (n >= 5) continue;
      said.setLength(0);
      for (int i = 1; i <= Math.min(m.getColumnCount(), 40); i++) {
        byte[] raw = m.getColumnTypeName(i).equals("bytea") ? rows.getBytes(i) : null;
        String text = raw == null ? rows.getString(i) : Arrays.toString(raw);
        said.append(text == null ? "NULL" : text.substring(0, Math.min(text.length(), 60))).append(" | ");
      }
      System.out.println(said);
    }
  }

  static void ask(Connection c, String sql) throws SQLException {
    try (Statement s = c.createStatement()) {
      boolean rows = s.execute(sql);
      while (true) {
        if (rows) show(s.getResultSet());
        else if (s.getUpdateCount() == -1) break;
        else System.out.println("count " + s.getUpdateCount());
        rows = s.getMoreResults();
      }
    }
  }

  static void queries(Connection c) throws Exception {
    for (String sql : new String[] {"SELECT 1 AS one; SELECT 2 AS two; SELECT FROM items LIMIT 2",
        "SELECT * FROM everything", "SELECT * FROM items ORDER BY id", "SELECT 1/0", "SELEC 1", "",
        "INSERT INTO items (id) VALUES (1)", "SELECT shout('error', 'all fields')", "SELECT * FROM many",
        "SELECT repeat('w', 500000)"})
      attempt(c, d -> ask(d, sql));
  }

  static void prepared(Connection c) throws Exception {
    try (PreparedStatement s = c.prepareStatement("SELECT id, name, price, seen FROM items WHERE id = ?")) {
      s.unwrap(org.postgresql.PGStatement.class).setPrepareThreshold(2);
      for (int id = 1; id <= 7; id++) {
        s.setInt(1, id);
        show(s.executeQuery());
      }
    }
    try (PreparedStatement s = c.prepareStatement("SELECT ?::int4, ?::text, ?::bytea, ?::timestamptz, ?::float8")) {
      for (int n = 0; n < 7; n++) {
        s.setInt(1, n);
        s.setString(2, n == 3 ? null : "ü" + n);
        s.setBytes(3, new byte[] {0, 1, (byte) 255});
        s.setTimestamp(4, new Timestamp(1_700_000_000_000L + n));
        s.setDouble(5, n / 3.0);
        show(s.executeQuery());
      }
    }
    try (PreparedStatement s = c.prepareStatement("INSERT INTO parents VALUES (?) RETURNING id",
        Statement.RETURN_GENERATED_KEYS)) {
      s.setInt(1, 60000);
      s.execute();
    } finally {
      ask(c, "DELETE FROM parents WHERE id >= 60000");
    }
  }

  static void batches(Connection c) throws Exception {
    c.setAutoCommit(false);
    try (PreparedStatement s = c.prepareStatement("INSERT INTO taken (id, line) VALUES (?, ?)")) {
      for (int id = 0; id < 3000; id++) {
        s.setInt(1, id);
        s.setString(2, "line " + id);
        s.addBatch();
      }
      System.out.println(Arrays.stream(s.executeBatch()).sum());
    }
    ask(c, "SELECT count(*), sum(id) FROM taken");
    try (PreparedStatement s = c.prepareStatement("INSERT INTO items VALUES (?, 'n', 1, NULL)")) {
      for (int id = 200; id > 90; id--) {
        s.setInt(1, id);
        s.addBatch();
      }
      s.executeBatch();
    } catch (BatchUpdateException e) {
      System.out.println(e.getSQLState() + " " + e.getMessage() + " " + e.getUpdateCounts().length);
    }
    c.rollback();
  }

  static void cursors(Connection c) throws Exception {
    c.setAutoCommit(false);
    try (Statement s = c.createStatement()) {
      s.setFetchSize(7);
      show(s.executeQuery("SELECT * FROM items ORDER BY id"));
      s.setMaxRows(4);
      show(s.executeQuery("SELECT * FROM items ORDER BY id"));
    }
    try (Statement s = c.createStatement()) {
      s.setFetchSize(2);
      show(s.executeQuery("SELECT 6 / (5 - i) FROM generate_series(1, 9) AS i"));
    }
  }

  static void copies(Connection c) throws Exception {
    var copy = c.unwrap(PGConnection.class).getCopyAPI();
    StringBuilder lines = new StringBuilder();
    for (int id = 0; id < 5000; id++) lines.append(id).append("\tline ").append(id).append('\n');
    c.setAutoCommit(false);
    System.out.println(copy.copyIn("COPY taken (id, line) FROM STDIN", new StringReader(lines.toString())));
    StringWriter out = new StringWriter();
    System.out.println(copy.copyOut("COPY (SELECT * FROM items ORDER BY id) TO STDOUT (FORMAT csv)", out));
    System.out.println(out.toString().length());
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    copy.copyOut("COPY (SELECT * FROM everything) TO STDOUT (FORMAT binary)", bytes);
    System.out.println(Arrays.hashCode(bytes.toByteArray()));
    var in = copy.copyIn("COPY taken (id, line) FROM STDIN");
    in.writeToCopy("1\tone\n".getBytes(), 0, 6);
    in.cancelCopy();
    System.out.println(copy.copyIn("COPY taken (id, line) FROM STDIN", new StringReader("x\ty\n")));
  }

  static void notices(Connection c) throws Exception {
    try (Statement s = c.createStatement()) {
      s.execute("SELECT shout('notice', 'one'), shout('warning', 'two')");
      for (SQLWarning w = s.getWarnings(); w != null; w = w.getNextWarning())
        System.out.println(w.getSQLState() + " " + w.getMessage());
    }
  }

  static void savepoints(Connection c) throws Exception {
    c.setAutoCommit(false);
    Savepoint one = c.setSavepoint("one");
    try {
      ask(c, "SELECT 1/0");
    } catch (SQLException e) {
      System.out.println(e.getSQLState());
    }
    c.rollback(one);
    ask(c, "SELECT 'goes on'");
    c.setReadOnly(false);
    c.commit();
    c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
    ask(c, "SHOW transaction_isolation");
    c.rollback();
    c.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
  }

  static void largeObjects(Connection c) throws Exception {
    c.setAutoCommit(false);
    LargeObjectManager all = c.unwrap(PGConnection.class).getLargeObjectAPI();
    ask(c, "SELECT lo_create(8181)");
    LargeObject one = all.open(8181, LargeObjectManager.READWRITE);
    one.write(new byte[300000]);
    one.seek(299990);
    System.out.println(one.read(100).length + " " + one.tell() + " " + one.size());
    one.truncate(10);
    System.out.println(one.size64());
    one.close();
    all.delete(8181);
    all.open(8181, LargeObjectManager.READ);
  }

  static void notifications(Connection c) throws Exception {
    ask(c, "LISTEN here");
    try (Connection other = connect("extended")) {
      ask(other, "NOTIFY here, 'from another'");
    }
    for (PGNotification n : c.unwrap(PGConnection.class).getNotifications(10000))
      System.out.println(n.getName() + " " + n.getParameter());
  }

  static void metadata(Connection c) throws Exception {
    DatabaseMetaData m = c.getMetaData();
    System.out.println(m.getDatabaseProductVersion() + " " + m.getDriverVersion());
    show(m.getTables(null, "public", "%", null));
    show(m.getColumns(null, "public", "everything", "%"));
    show(m.getPrimaryKeys(null, "public", "items"));
    show(m.getImportedKeys(null, "public", "children"));
    show(m.getProcedures(null, "public", "%"));
  }

  static void cancels(Connection c) throws Exception {
    try (Connection other = connect("extended"); Statement sleeping = c.createStatement()) {
      Thread canceller = new Thread(() -> {
        try (PreparedStatement looking = other.prepareStatement(
            "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND usename = current_user")) {
          for (int tries = 0; tries < 1000 && !looking.executeQuery().next(); tries++) Thread.sleep(10);
          sleeping.cancel();
        } catch (Exception e) {
          System.out.println(e);
        }
      });
      canceller.start();
      try {
        sleeping.execute("SELECT pg_sleep(60)");
      } catch (SQLException e) {
        System.out.println(e.getSQLState() + " " + e.getMessage());
      }
      canceller.join();
      sleeping.setQueryTimeout(1);
      try {
        sleeping.execute("SELECT pg_sleep(60)");
      } catch (SQLException e) {
        System.out.println(e.getSQLState() + " " + e.getMessage());
      }
    }
    ask(c, "SELECT 'still here'");
  }

  static void twoPhase() throws Exception {
    PGXADataSource source = new PGXADataSource();
    source.setURL(url);
    Properties more = properties("extended");
    source.setUser(more.getProperty("user"));
    source.setPassword(more.getProperty("password"));
    source.setProperty("options", more.getProperty("options"));
    var connection = source.getXAConnection();
    XAResource resource = connection.getXAResource();
    Xid id = new Xid() {
      public int getFormatId() { return 7; }
      public byte[] getGlobalTransactionId() { return "global".getBytes(); }
      public byte[] getBranchQualifier() { return "branch".getBytes(); }
    };
    resource.start(id, XAResource.TMNOFLAGS);
    ask(connection.getConnection(), "INSERT INTO parents VALUES (8888)");
    resource.end(id, XAResource.TMSUCCESS);
    System.out.println(resource.prepare(id) + " " + resource.recover(XAResource.TMSTARTRSCAN).length);
    resource.commit(id, false);
    connection.close();
    try (Connection c = connect("extended")) {
      ask(c, "SELECT * FROM parents WHERE id = 8888");
    }
  }
}
