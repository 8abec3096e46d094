/** What test/real/console.test.ts asks of the gate's console, by JDBC: one line an answer. The URL is the argument. */
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Properties;

public class Console {
  public static void main(String[] args) throws Exception {
    for (String mode : new String[] {"simple", "extended", "extendedForPrepared", "extendedCacheEverything"}) {
      Properties more = new Properties();
      more.setProperty("user", System.getenv("PGUSER"));
      more.setProperty("password", System.getenv("PGPASSWORD"));
      more.setProperty("options", System.getenv("PGOPTIONS"));
      more.setProperty("preferQueryMode", mode);
      try (Connection connection = DriverManager.getConnection(args[0], more);
          Statement statement = connection.createStatement()) {
        ResultSet own = statement.executeQuery("SHOW SESSIONS WHERE node = 'console' LIMIT 1");
        own.next();
        System.out.println(mode + ": " + own.getString("user_name") + " " + own.getMetaData().getColumnTypeName(16)
            + " " + (own.getTimestamp("session_start").getTime() > 0));
        // By name, and in binary, from the fifth time on.
        try (PreparedStatement named = connection.prepareStatement("SHOW VERSION")) {
          named.unwrap(org.postgresql.PGStatement.class).setPrepareThreshold(2);
          long workers = 0;
          for (int each = 0; each < 8; each++) {
            ResultSet rows = named.executeQuery();
            rows.next();
            workers += rows.getLong("workers");
          }
          System.out.println("workers: " + workers);
        }
        try (PreparedStatement cancel = connection.prepareStatement("CANCEL SESSION ?")) {
          cancel.setString(1, "nobody's");
          System.out.println(failure(cancel));
        }
        connection.setAutoCommit(false);
        System.out.println(connection.getTransactionIsolation() == Connection.TRANSACTION_READ_COMMITTED);
        try (PreparedStatement reload = connection.prepareStatement("RELOAD")) {
          System.out.println(failure(reload));
        }
        connection.rollback();
        connection.setAutoCommit(true);
        System.out.println(connection.isValid(5) + " " + connection.getSchema());
        System.out.println(failure(connection.prepareStatement("SELECT * FROM pg_class")));
      }
    }
  }

  private static String failure(PreparedStatement statement) {
    try {
      statement.execute();
      return "done";
    } catch (SQLException e) {
      return e.getSQLState() + " " + e.getMessage().split("\n")[0];
    }
  }
}
