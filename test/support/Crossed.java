/** What test/real/crossed.test.ts asks of a client, by JDBC: one line an answer. The URL is the argument. */
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Properties;

public class Crossed {
  public static void main(String[] args) throws Exception {
    Properties more = new Properties();
    more.setProperty("user", System.getenv("PGUSER"));
    more.setProperty("password", System.getenv("PGPASSWORD"));
    more.setProperty("options", System.getenv("PGOPTIONS"));
    more.setProperty("ApplicationName", System.getenv("PGAPPNAME"));
    try (Connection connection = DriverManager.getConnection(args[0], more);
        Statement statement = connection.createStatement()) {
      System.out.println(first(statement.executeQuery(System.getenv("WHO"))));
      System.out.println(prepared(connection));
      System.out.println(state(statement, "select 1/0"));
      cancelWhenTold(statement);
      System.out.println(state(statement, "select pg_sleep(30)"));
      System.out.println(first(statement.executeQuery("select 'still here'")));
    }
  }

  private static String first(ResultSet rows) throws SQLException {
    rows.next();
    return rows.getString(1);
  }

  /** The second time by name: at the server. */
  private static String prepared(Connection connection) throws SQLException {
    try (PreparedStatement adding = connection.prepareStatement("select ? + 1")) {
      adding.unwrap(org.postgresql.PGStatement.class).setPrepareThreshold(1);
      adding.setInt(1, 1);
      first(adding.executeQuery());
      adding.setInt(1, 41);
      return first(adding.executeQuery());
    }
  }

  private static String state(Statement statement, String sql) {
    try {
      statement.executeQuery(sql);
      return "no error";
    } catch (SQLException thrown) {
      return thrown.getSQLState();
    }
  }

  private static void cancelWhenTold(Statement statement) {
    Thread canceller =
        new Thread(
            () -> {
              try {
                System.in.read();
                statement.cancel();
              } catch (Exception thrown) {
                thrown.printStackTrace();
              }
            });
    canceller.setDaemon(true);
    canceller.start();
  }
}
